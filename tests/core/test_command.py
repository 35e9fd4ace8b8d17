import subprocess
import sys

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
