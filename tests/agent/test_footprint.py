"""What each process of the agent imports: heavy libraries stay out of the resident one."""

import subprocess
import sys

import pytest

HEAVY = {"numpy", "onnxruntime", "tuf", "securesystemslib", "cryptography"}


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
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
        ("edgekit_agent.service.worker", HEAVY - {"numpy", "onnxruntime"} | {"paho"}),
        ("edgekit_agent.signing", HEAVY - {"cryptography"} | {"paho"}),
        ("edgekit_agent.proof", HEAVY - {"numpy", "onnxruntime"} | {"paho"}),
    ],
)
def test_a_process_holds_only_what_it_needs(module: str, absent: set[str]) -> None:
    assert imported_by(module) & absent == set()
