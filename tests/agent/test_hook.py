"""Hooks as real programs: what they are given, what their end means, what ends them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgekit_agent.rules.hook import MAX_OUTPUT_CHARS, Answer, Hook
from edgekit_agent.supervision import hook
from edgekit_agent.supervision.hook import Running, Told

VARIABLES = {"EDGEKIT_MODEL": "wine", "EDGEKIT_VERSION": "2"}


def script(folder: Path, text: str, mode: int = 0o755) -> Path:
    path = folder / Hook.PRE_ACTIVATE.value
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def told(
    path: Path, variables: Mapping[str, str] = VARIABLES, limit_s: float = 30.0
) -> Told:
    begun = hook.start(path, variables)
    return begun.wait(limit_s) if isinstance(begun, Running) else begun


@pytest.mark.parametrize(
    ("text", "answer", "reason"),
    [
        ("exit 0", Answer.GO, "pre-activate"),
        ("echo the pump runs; exit 21", Answer.NOT_NOW, "pre-activate: the pump runs"),
        ("echo no; exit 1", Answer.FAILED, "pre-activate: exit code 1: no"),
        ("kill -9 $$", Answer.BROKE, "pre-activate: killed by signal 9"),
        (
            "echo to stderr >&2; exit 3",
            Answer.FAILED,
            "pre-activate: exit code 3: to stderr",
        ),
    ],
)
def test_the_end_of_a_hook_is_its_answer(
    folder: Path, text: str, answer: Answer, reason: str
) -> None:
    found = told(script(folder, text))
    assert (found.answer, found.reason) == (answer, reason)


@pytest.mark.parametrize(
    ("line", "again_s"),
    [
        ("retry-after: 900", 900),
        ("Retry-After:60", 60),
        ("retry-after: 0", hook.LEAST_AGAIN_S),
        ("retry-after: 999999999", hook.MOST_AGAIN_S),
        ("retry-after: soon", hook.AGAIN_S),
        ("", hook.AGAIN_S),
    ],
)
def test_not_now_may_name_the_time_to_ask_again(
    folder: Path, line: str, again_s: int
) -> None:
    found = told(script(folder, f"echo the pump runs\necho '{line}'\nexit 21"))
    assert (found.answer, found.again_s) == (Answer.NOT_NOW, again_s)
    assert "pump runs" in found.output


def test_a_hook_gets_what_it_is_told_and_nothing_of_the_agent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("MQTT_PASSWORD", "secret")
    kept_open = os.open(folder, os.O_RDONLY)
    os.set_inheritable(kept_open, True)  # noqa: FBT003 - os's own form
    found = told(script(folder, 'echo "$1 $2"; env; ls /proc/self/fd; cat; pwd'))
    os.close(kept_open)
    words = found.output.split()
    assert words[:2] == ["wine", "2"]
    names = {line.split("=")[0] for line in found.output.splitlines() if "=" in line}
    assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "LANG", *VARIABLES}
    assert str(kept_open) not in [word for word in words if word.isdecimal()]
    assert words[-1] == "/"


def test_a_hook_that_does_not_end_is_ended_with_all_it_started(folder: Path) -> None:
    mark = folder / "pid"
    text = f"sleep 600 &\necho $! > {mark}; echo waiting; wait"
    found = told(script(folder, text), limit_s=1.0)
    assert found.answer is Answer.BROKE
    assert found.reason == "pre-activate: not done within 1 s, and ended: waiting"
    gone(int(mark.read_text()))


def gone(pid: int) -> None:
    """Wait until a process has ended; a zombie has."""
    deadline = time.monotonic() + 20
    while True:
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if status == "Z":
            return
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def test_what_a_hook_leaves_running_does_not_hold_it_up(folder: Path) -> None:
    found = told(script(folder, "sleep 600 &\necho done"))
    assert (found.answer, found.output) == (Answer.GO, "done\n")


def test_a_hook_that_floods_its_output_is_kept_in_bounds(folder: Path) -> None:
    found = told(script(folder, "yes garbage | head -c 3000000; printf 'the end\\001'"))
    assert len(found.output) <= MAX_OUTPUT_CHARS
    assert found.reason == "pre-activate: the end"


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_hook_that_others_may_write_is_not_run(folder: Path, mode: int) -> None:
    path = script(folder, f"touch {folder}/ran", mode)
    found = told(path)
    assert found.answer is Answer.BROKE
    assert "others may write it; 755 is expected" in found.reason
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_file_that_is_no_program_is_no_consent(folder: Path, mode: int) -> None:
    found = told(script(folder, "exit 0", mode))
    assert found.answer is Answer.BROKE
    assert "not an executable file" in found.reason


def test_a_hook_of_a_missing_interpreter_is_no_consent(folder: Path) -> None:
    path = script(folder, "")
    path.write_text("#!/no/such/shell\n")
    assert told(path).answer is Answer.BROKE


def test_a_hook_that_is_taken_away_before_its_turn_has_nothing_to_say(
    folder: Path,
) -> None:
    path = script(folder, "exit 1")
    path.unlink()
    assert told(path).answer is Answer.GO


def test_no_file_is_no_hook_and_a_dangling_link_is_one(folder: Path) -> None:
    assert hook.find(folder, Hook.PRE_ACTIVATE) is None
    assert hook.find(folder / "none", Hook.PRE_ACTIVATE) is None
    path = folder / Hook.PRE_ACTIVATE.value
    path.symlink_to("/no/such/program")
    assert hook.find(folder, Hook.PRE_ACTIVATE) == path
    assert told(path).answer is Answer.BROKE


@pytest.mark.slow
def test_the_process_says_one_line_of_json(folder: Path) -> None:
    path = script(folder, "echo the pump runs; echo retry-after: 7; exit 21")
    with runner(path) as process:
        assert process.stdout is not None
        (line,) = process.stdout.readlines()
    said = json.loads(line)
    assert (said["event"], said["answer"], said["again_s"]) == ("answered", "not-now", 7)


@pytest.mark.slow
def test_a_hook_ends_with_the_agent(folder: Path) -> None:
    mark = folder / "pid"
    path = script(folder, f"echo $$ > {mark}.tmp; mv {mark}.tmp {mark}; sleep 600")
    with runner(path) as process:
        deadline = time.monotonic() + 20
        while not mark.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    gone(int(mark.read_text()))


def runner(path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", hook.__name__, str(path), "--limit-s", "30"]
    return subprocess.Popen(
        [*command, "--variable", "EDGEKIT_MODEL=wine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
