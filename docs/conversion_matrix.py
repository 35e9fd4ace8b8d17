"""Write docs/conversion-matrix.md: what becomes of models of every kind.

Run by `python -m docs.conversion_matrix`; with names of groups, only those are converted
again. tests/converters/test_conversion_matrix.py says when the page is out of date.
"""

# ruff: noqa: INP001 - a script beside the page it writes, not a package
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

TARGET = Path(__file__).with_name("conversion-matrix.md")
ROOT = Path(__file__).parents[1]
GROUPS: Mapping[str, str] = {  # group -> heading
    "sklearn": "scikit-learn",
    "boosters": "XGBoost, LightGBM and CatBoost",
    "networks": "Keras, PyTorch and TFLite",
    "spark": "Spark ML",
    "old": "Logged by older MLflows, with the libraries of then",
}
_HEADER = """\
# What is converted

Written by `python -m docs.conversion_matrix`, which makes each model, converts it and
compares both forms on the same rows. The error is the largest difference, as a share of the
largest number or of the labels, rounded up to a power of ten: mostly that of float32
arithmetic. A refusal says why, and what to do.
"""
_CONVERTED = "converted, max error "
_ROW = re.compile(r"\| (?P<name>[^|]+) \| (?P<logged>[^|]*) \| (?P<outcome>[^|]+) \|")
_MOST = 240  # characters of a reason
_TIMEOUT_S = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One model's row: `error` is None where it was refused."""

    name: str
    logged: str
    error: float | None
    because: str = ""

    def __str__(self) -> str:
        """Return the row as the page has it."""
        if self.error is None:
            said = f"refused: {self.because}"
        else:
            said = f"{_CONVERTED}{self.error:.0e}" if self.error else "converted, exact"
        return f"| {self.name} | {self.logged} | {said} |"


def converted(group: str) -> list[Cell]:
    """Make and convert a group's models in a process of its own."""
    quiet = {"PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with TemporaryDirectory(prefix="edgekit-matrix-") as folder:
        subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "tests.converters.matrix", group, folder],
            cwd=ROOT,
            env={**os.environ, **quiet, "CUDA_VISIBLE_DEVICES": ""},
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
        )
        found = json.loads(Path(folder, "outcomes.json").read_bytes())
    return [_cell(one, folder) for one in found]


def _cell(one: Mapping[str, object], folder: str) -> Cell:
    because = " ".join(str(one["because"]).replace(folder, "").replace("|", "/").split())
    return Cell(
        name=str(one["name"]),
        logged=str(one["logged"]),
        error=float(str(one["error"])) if one["outcome"] == "converted" else None,
        because=because if len(because) <= _MOST else f"{because[:_MOST]}...",
    )


def written() -> dict[str, list[Cell]]:
    """Read the page as it is: the cells of each group."""
    text = TARGET.read_text("utf-8") if TARGET.exists() else ""
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    headings = {heading: group for group, heading in GROUPS.items()}
    return {
        headings[section.partition("\n")[0]]: [
            _read(found)
            for found in _ROW.finditer(section)
            if found["name"] not in {"model", "---"}
        ]
        for section in sections
        if section.partition("\n")[0] in headings
    }


def _read(found: re.Match[str]) -> Cell:
    said = found["outcome"]
    name, logged = found["name"], found["logged"]
    if said.startswith("refused: "):
        return Cell(
            name=name, logged=logged, error=None, because=said.removeprefix("refused: ")
        )
    exact = said == "converted, exact"
    error = 0.0 if exact else float(said.removeprefix(_CONVERTED))
    return Cell(name=name, logged=logged, error=error)


def page(cells: Mapping[str, Sequence[Cell]]) -> str:
    """Return the whole page."""
    return "\n".join([_HEADER, *(_section(group, cells[group]) for group in cells)])


def _section(group: str, cells: Sequence[Cell]) -> str:
    done = sum(cell.error is not None for cell in cells)
    rows = "\n".join(map(str, cells))
    return (
        f"## {GROUPS[group]}\n\n{done} of {len(cells)} are converted.\n\n"
        f"| model | logged as | outcome |\n|---|---|---|\n{rows}\n"
    )


def main(groups: Sequence[str]) -> None:
    """Convert these groups again and write the page; the others stay as they are."""
    for group in groups or GROUPS:
        found = converted(group)
        cells = {**written(), group: found}
        ordered = {name: cells[name] for name in GROUPS if name in cells}
        TARGET.write_text(page(ordered), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
