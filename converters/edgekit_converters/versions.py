"""Versions of installed distributions, for the conversion record."""

from importlib.metadata import PackageNotFoundError, version


def installed(*distributions: str) -> dict[str, str]:
    """Return the version of each distribution that is installed here."""
    found: dict[str, str] = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # under another name, as with tensorflow-cpu
            continue
    return found
