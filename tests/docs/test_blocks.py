import os
import time
from pathlib import Path

import pytest

from tests.docs.blocks import BlockError, Shell, Step, check, matches, steps


def fenced(language: str, body: str, remark: str = "") -> str:
    return f"Some text.\n\n{remark}```{language}\n{body}\n```\n\nMore.\n"


def performed(text: str, folder: Path) -> None:
    with Shell(folder, {"PATH": os.environ["PATH"]}) as shell:
        for step in steps(text):
            check(step, *shell.run(step.command, timeout_s=10))


def test_commands_and_their_outputs_are_told_apart() -> None:
    text = fenced("console", "$ echo a \\\n  b\na b\n$ true")
    assert steps(text) == [
        Step(line=4, command="echo a \\\n  b", expected="a b"),
        Step(line=7, command="true", expected=None),
    ]


def test_a_console_that_does_what_it_shows_passes(tmp_path: Path) -> None:
    text = fenced("console", "$ mkdir a\n$ cd a\n$ X=1\n$ pwd; echo $X\n...a\n1")
    performed(text + fenced("python", "open('made', 'w').write('x')"), tmp_path)
    assert (tmp_path / "a" / "made").read_text() == "x"


def test_another_output_than_shown_is_found(tmp_path: Path) -> None:
    with pytest.raises(BlockError, match=r"line 4: `echo b` prints\nb\ninstead of\na"):
        performed(fenced("console", "$ echo b\na"), tmp_path)


def test_a_failing_command_is_found(tmp_path: Path) -> None:
    with pytest.raises(BlockError, match="line 5: `false` exits with 1, 0 is expected"):
        performed(fenced("console", "$ true\n$ false"), tmp_path)


def test_a_failing_script_is_found(tmp_path: Path) -> None:
    with pytest.raises(BlockError, match="ZeroDivisionError"):
        performed(fenced("python", "1 / 0"), tmp_path)


def test_a_failure_that_the_text_announces_passes(tmp_path: Path) -> None:
    text = fenced("console", "$ true\n$ (exit 7)", "<!-- exits: 7 -->\n")
    performed(text, tmp_path)
    with pytest.raises(BlockError, match="exits with 0, 7 is expected"):
        performed(text.replace("(exit 7)", "true"), tmp_path)


def test_a_block_is_left_out_only_with_a_reason() -> None:
    assert steps(fenced("console", "$ false", "<!-- not run: takes hours -->\n")) == []
    with pytest.raises(BlockError, match="says no reason"):
        steps(fenced("console", "$ false", "<!-- not run: -->\n"))


def test_a_reason_counts_for_the_next_block_only() -> None:
    text = fenced("toml", "a = 1", "<!-- not run: data -->\n") + fenced("console", "$ true")
    assert [step.command for step in steps(text)] == ["true"]


def test_a_remark_does_not_reach_from_one_block_to_a_later_one() -> None:
    text = fenced("console", "$ a", "<!-- not run: slow -->\n")
    text += fenced("console", "$ b", "<!-- exits: 9 -->\n")
    assert [(step.command, step.exit_code) for step in steps(text)] == [("b", 9)]


@pytest.mark.parametrize("language", ["sh", "bash", "shell"])
def test_no_command_escapes_by_its_fence(language: str) -> None:
    with pytest.raises(BlockError, match="console is expected"):
        steps(fenced(language, "rm -rf /"))


def test_a_console_that_starts_without_a_prompt_is_refused() -> None:
    with pytest.raises(BlockError, match="line 4: `\\$ ` is expected"):
        steps(fenced("console", "echo a"))


def test_a_command_cannot_eat_the_ones_after_it(tmp_path: Path) -> None:
    performed(fenced("console", "$ cat\n$ echo after\nafter"), tmp_path)


def test_a_command_that_hangs_or_ends_the_shell_is_found(tmp_path: Path) -> None:
    with Shell(tmp_path, {}) as shell, pytest.raises(BlockError, match="runs for more"):
        shell.run("sleep 30", timeout_s=0.2)
    with Shell(tmp_path, {}) as shell, pytest.raises(BlockError, match="ended the shell"):
        shell.run("exit 3")


def test_background_jobs_last_until_the_text_ends(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    with Shell(tmp_path, {"PATH": os.environ["PATH"]}) as shell:
        shell.run("(while sleep 0.05; do date > alive; done) >/dev/null 2>&1 &")
        _, code = shell.run("sleep 0.3; kill -0 $!")
        assert code == 0
    assert alive.exists()
    alive.unlink()
    time.sleep(0.3)
    assert not alive.exists()


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("a", "a\n", True),
        ("a", "ab", False),
        ("a...c", "abc", True),
        ("a\n...\nz", "a\nb\nc\nz", True),
        ("a\n...\nz", "a\nb", False),
        ("took ... s", "took 1.5 s", True),
        ("1.5", "125", False),
        ("a  ", "a", True),
    ],
)
def test_dots_stand_for_any_text(expected: str, output: str, *, same: bool) -> None:
    assert matches(expected, output) is same
