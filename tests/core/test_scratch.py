import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from edgekit import scratch

HOLDER = """
import sys, time
from edgekit import scratch
with scratch.folder("test") as path:
    path.joinpath("model").write_text("x")
    print(path, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def holder(tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_goes_with_its_work_also_when_that_fails(tmp_path: Path) -> None:
    with scratch.folder("trial") as path:
        path.joinpath("model.onnx").write_bytes(b"x")
        assert path.parent == tmp_path
    with pytest.raises(KeyError), scratch.folder("trial"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_is_in_use_is_not(
    tmp_path: Path,
) -> None:
    strange = tmp_path / "another-tool"
    strange.mkdir()
    process, path = holder(tmp_path)
    with process:
        scratch.sweep()
        assert path.joinpath("model").read_text() == "x"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()
        with scratch.folder("own") as own:
            scratch.sweep()
            assert not path.exists()
            assert own.exists()
    assert list(tmp_path.iterdir()) == [strange]


def test_a_link_with_such_a_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    victim.joinpath("file").write_text("x")
    tmp_path.joinpath("edgekit-work-trial-1").symlink_to(victim)
    scratch.sweep()
    assert victim.joinpath("file").exists()
