import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import atomic
from edgekit.errors import StoreError

# A process that may not write files above 1,000 bytes: a disk that fills up half-way.
ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from edgekit import atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
try:
    atomic.write_bytes(Path(sys.argv[1]), bytes(5_000))
except atomic.StoreError as error:
    print(error)
"""
# A process that is killed, as by a power cut, when the new content is whole beside.
KILLED_BEFORE_THE_RENAME = """
import os, sys
from pathlib import Path
from edgekit import atomic
sys.addaudithook(lambda event, _: event == "os.rename" and os._exit(9))
atomic.write_bytes(Path(sys.argv[1]), b"new")
"""


def run(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    atomic.write_bytes(path, b"old")
    atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_has_the_mode_that_was_asked_for(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    atomic.write_bytes(path, b"secret", mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_beside(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    done = run(ON_A_FULL_DISK, path)
    assert done.stdout == f"{path}: cannot be written: File too large\n", done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_before_the_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    assert run(KILLED_BEFORE_THE_RENAME, path).returncode == 9
    assert path.read_bytes() == b"old"


def test_a_folder_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written: No such file or directory"):
        atomic.write_bytes(tmp_path / "absent" / "state.json", b"new")


def test_a_folder_in_the_place_of_the_file_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.mkdir()
    with pytest.raises(StoreError, match="cannot be written: Is a directory"):
        atomic.write_bytes(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
