"""A self-contained HTML page for people, in edgekit's look. It loads nothing, from nowhere.

Knows no report: what a page shows, and the rules of its style that no other page shares,
are in its template.
"""

from importlib.resources import files
from string import Template


def filled(package: str, template: str, **parts: str) -> str:
    """Return a package's template with its parts, HTML that is escaped, and `$style`.

    Raises KeyError for a part that the template has and nobody gave.
    """
    style = files("edgekit").joinpath("html_page.css").read_text("utf-8").rstrip()
    text = files(package).joinpath(template).read_text("utf-8")
    return Template(text).substitute(parts, style=style)
