import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import ConversionError
from edgekit_converters.native import process

GREEDY = "held = []\nwhile True: held.append(bytearray(b'x' * 2**22))"


def run(program: str, folder: Path, timeout_s: float = 60.0) -> int:
    return process.run(
        [sys.executable, "-c", program],
        log=folder / "log",
        cwd=folder,
        env={},
        timeout_s=timeout_s,
    )


def test_the_exit_code_is_the_childs(tmp_path: Path) -> None:
    assert run("raise SystemExit(7)", tmp_path) == 7
    assert run("import os; os.kill(os.getpid(), 9)", tmp_path) == -9


def test_what_it_says_is_in_the_log(tmp_path: Path) -> None:
    run("print('hello')", tmp_path)
    assert (tmp_path / "log").read_text() == "hello\n"


def test_a_child_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run("import time; time.sleep(60)", tmp_path, timeout_s=0.5)


def test_a_child_that_eats_the_memory_is_ended_before_the_machine_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MEMORY_SHARE", 0.02)
    with pytest.raises(ConversionError, match=r"takes more than .* MB of memory"):
        run(GREEDY, tmp_path)


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    child = (
        "from edgekit_converters.native import child as c; import os, time;"
        "c._end_with_the_parent(); open('pid', 'w').write(str(os.getpid()));"
        "time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path) as running:
        wait(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text() != "")
        pid = int((tmp_path / "pid").read_text())
        running.send_signal(signal.SIGKILL)
    wait(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.is_file() or "State:\tZ" not in status.read_text()


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
