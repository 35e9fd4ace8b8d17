"""What each process of the agent imports: heavy libraries stay out of the resident one."""

import subprocess
import sys

import pytest

HEAVY = {"numpy", "onnxruntime", "tuf", "securesystemslib", "cryptography"}
# Of the standard library, what no process needs that only serves; 3 MB together.
UNUSED = {"ssl", "email", "http.client", "http.server", "html", "tomllib", "difflib"}


def imported_by(module: str) -> set[str]:
    """Return what a fresh process holds that imported a module, packages and all."""
    code = f"import sys, {module}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(found.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("edgekit_agent.daemon", HEAVY),
        ("edgekit_agent.cli", HEAVY | {"paho"}),
        ("edgekit_agent.update.updater", {"onnxruntime"}),
        (
            "edgekit_agent.service.worker",
            HEAVY - {"numpy", "onnxruntime"} | UNUSED | {"paho"},
        ),
        ("edgekit_agent.signing", HEAVY - {"cryptography"} | {"paho"}),
        ("edgekit_agent.proof", HEAVY - {"numpy", "onnxruntime"} | {"paho"}),
    ],
)
def test_a_process_holds_only_what_it_needs(module: str, absent: set[str]) -> None:
    assert imported_by(module) & absent == set()
