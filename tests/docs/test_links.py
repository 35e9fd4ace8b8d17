"""Every relative link of the documents leads to a file, and every anchor to a heading."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("", "boards/", "docs/", "docs/adr/", "docs/formats/", "tests/vectors/")
PROJECT = (
    "agent", "benchmarks", "boards", "converters", "demo", "docs", "edgekit", "scripts",
    "systemd", "tests",
)  # fmt: skip
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for folder in FOLDERS for path in ROOT.glob(f"{folder}*.md")
)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The names by which a rendered page's headings are reached."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    page = ROOT / document
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text("utf-8")), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_text_names_exist(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    named = set(re.findall(rf"`((?:{'|'.join(PROJECT)})/[\w./-]+)`", text))
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_index_of_the_documents_lists_every_page() -> None:
    pages = {p for p in DOCUMENTS if p.startswith("docs/") and "/adr/" not in p}
    assert pages - {f"docs/{target}" for target in linked("docs/README.md")} == {
        "docs/README.md"
    }


def test_the_index_of_the_decisions_lists_every_record_by_its_title() -> None:
    listed = linked("docs/adr/README.md")
    for record in sorted((ROOT / "docs/adr").glob("[0-9]*.md")):
        title = record.read_text("utf-8").splitlines()[0].removeprefix("# ")
        assert listed.get(record.name) == title.partition(". ")[2]


def linked(document: str) -> dict[str, str]:
    """The targets of a document's links, with their texts."""
    text = (ROOT / document).read_text("utf-8")
    return {target: name for name, target in re.findall(r"\[([^\]]+)\]\(([^)]+)\)", text)}
