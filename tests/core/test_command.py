import os
import subprocess
import sys
from pathlib import Path

BLOCKED = "import sys; sys.modules[{!r}] = None; from edgekit.command import main; main()"


def command_without(module: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(module)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_the_operators_extra_one_line_names_it() -> None:
    done = command_without("click")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "error: edgekit: click is not installed, the operator's command needs it;"
        " pip install 'edgekit-core[operator]'\n"
    )


def test_a_missing_module_of_our_own_is_not_blamed_on_an_extra() -> None:
    done = command_without("edgekit.board")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_without_a_terminal_a_missing_passphrase_is_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from edgekit.command import main; main()", "init", "fleet"],
        env={k: v for k, v in os.environ.items() if k != "EDGEKIT_PASSPHRASE"},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == (
        "error: no passphrase, and no terminal to ask on:"
        " EDGEKIT_PASSPHRASE or --passphrase-file is expected\n"
    )
    assert not any(tmp_path.iterdir())
