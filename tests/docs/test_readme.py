"""The README and the guides do what they show, in order, in an empty folder."""

import os
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Shell, check, steps

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted(f"docs/{path.name}" for path in ROOT.glob("docs/tutorial*.md"))
DOCUMENTS = ["README.md", "docs/operations.md", *TUTORIALS]


def environment(home: Path) -> dict[str, str]:
    """What a reader's shell has: our programs, a home, and nothing of the developer's."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {
        "PATH": programs,
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_can_be_run_or_says_why_not(document: str) -> None:
    steps((ROOT / document).read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_does_what_it_shows(document: str, tmp_path: Path) -> None:
    with Shell(tmp_path, environment(tmp_path)) as shell:
        for step in steps((ROOT / document).read_text("utf-8")):
            check(step, *shell.run(step.command))
