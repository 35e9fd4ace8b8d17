"""A real `edgekit convert`, in a process group of its own, as in a terminal: Ctrl-C reaches
every process of the group.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgekit import scratch
from edgekit.manifest import Manifest
from edgekit_converters.flavors import FLAVORS
from tests.converters import networks

pytestmark = pytest.mark.slow

# A shell that runs the tests in the background has interrupts ignored, by children too.
COMMAND = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from edgekit.command import main; sys.argv[0] = 'edgekit'; main()"
)
PATIENCE_S = 240


class Conversion:
    """The running command, and what it has said on standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def wait_for(self, words: str) -> None:
        """Read standard error until a line holds the words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return
        pytest.fail(f"it never said {words!r}: {''.join(self.said)}")

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Return the exit code and standard output."""
        out, rest = self.process.communicate(timeout=PATIENCE_S)
        self.said.append(rest)
        return self.process.returncode, out


@contextmanager
def converting(folder: Path, *options: str) -> Iterator[Conversion]:
    """Convert the small classifier on 600 images, into folder/out."""
    model, rows, own = folder / "net.onnx", folder / "rows.npy", folder / "scratch"
    model.write_bytes(networks.classifier().SerializeToString())
    np.save(rows, networks.images(600))
    own.mkdir(exist_ok=True)
    words = ["convert", str(model), "--quantize", "--samples", str(rows), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words, "--out", str(folder / "out"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(own)},
    )
    watchdog = threading.Timer(PATIENCE_S, process.kill)
    watchdog.start()
    try:
        yield Conversion(process)
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def reasons(out: str) -> dict[str, str]:
    return {one["flavor"]: one["reason"] for one in json.loads(out)["candidates"]}


def test_one_interrupt_keeps_the_candidates_so_far_and_says_so(tmp_path: Path) -> None:
    with converting(tmp_path, "--max-drop", "0.1") as conversion:
        conversion.wait_for("fp16 (2 of ")
        conversion.interrupt()
        code, out = conversion.end()
    assert code == 0, conversion.said
    told = reasons(out)
    assert list(told) == list(FLAVORS)
    assert "stopping: the candidates so far are kept" in "".join(conversion.said)
    late = list(FLAVORS)[3:]
    assert {told[flavor] for flavor in late} == {"not tried: the search was stopped"}
    assert (tmp_path / "out" / "report.json").is_file()
    assert (tmp_path / "out" / "fp32" / "model.onnx").is_file()
    for manifest in (tmp_path / "out").rglob("manifest.json"):
        Manifest.from_json(manifest.read_bytes())
    assert list((tmp_path / "scratch").glob("edgekit*")) == []


def test_a_measurement_under_way_is_finished_when_the_search_is_stopped(
    tmp_path: Path,
) -> None:
    with converting(tmp_path, "--max-drop", "0.1") as conversion:
        conversion.wait_for("fp16 (2 of ")
        conversion.wait_for(": measuring")
        conversion.interrupt()
        code, out = conversion.end()
    assert code == 0, conversion.said
    assert not reasons(out)["fp16"].startswith(("does not run", "not tried"))


def test_the_baseline_is_finished_when_it_is_stopped_at_once(tmp_path: Path) -> None:
    with converting(tmp_path) as conversion:
        conversion.wait_for("fp32: measuring")
        conversion.interrupt()
        code, out = conversion.end()
    assert code == 0, conversion.said
    assert [name for name, why in reasons(out).items() if "not tried" not in why] == [
        "fp32"
    ]


def test_a_second_interrupt_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    with converting(tmp_path) as conversion:
        conversion.wait_for("fp32: measuring")
        conversion.interrupt()
        conversion.wait_for("stopping: ")
        conversion.interrupt()
        code, out = conversion.end()
    assert code not in {0, None}
    assert out == ""
    assert "Traceback" not in "".join(conversion.said)
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "scratch").glob("edgekit*")) == []


def test_a_second_interrupt_leaves_an_older_conversion_as_it_was(tmp_path: Path) -> None:
    with converting(tmp_path, "--max-drop", "0.1", "--search-seconds", "0") as first:
        assert first.end()[0] == 0
    before = _contents(tmp_path / "out")
    with converting(tmp_path) as conversion:
        conversion.wait_for("fp32: measuring")
        conversion.interrupt()
        conversion.wait_for("stopping: ")
        conversion.interrupt()
        assert conversion.end()[0] != 0
    assert _contents(tmp_path / "out") == before


def test_a_search_of_no_seconds_tries_float32_alone(tmp_path: Path) -> None:
    with converting(tmp_path, "--search-seconds", "0") as conversion:
        code, out = conversion.end()
    assert code == 0, conversion.said
    told = reasons(out)
    assert "not tried" not in told.pop("fp32")
    assert set(told.values()) == {"not tried: the 0 s of the search were used up"}


def test_progress_says_what_is_tried_how_many_there_are_and_the_best_so_far(
    tmp_path: Path,
) -> None:
    with converting(tmp_path, "--max-drop", "0.1") as conversion:
        code, _ = conversion.end()
    assert code == 0, conversion.said
    said, count = "".join(conversion.said), len(FLAVORS) - 1
    for number, flavor in enumerate(list(FLAVORS)[1:]):
        assert f"{flavor} ({number + 1} of {count}): building; smallest so far " in said
    assert "variant 8 of 8, percentile 99.9 calibration" in said
    assert "; least drop so far " in said


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_a_killed_conversion_leaves_goes_with_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with converting(tmp_path) as conversion:
        conversion.wait_for("fp32: measuring")
        os.kill(conversion.process.pid, signal.SIGKILL)
        conversion.end()
    left = list((tmp_path / "scratch").glob("edgekit-work-*"))
    assert left
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    scratch.sweep()
    assert not list((tmp_path / "scratch").glob("edgekit-work-*"))


@pytest.mark.parametrize("stage", ["loading", "proving it for", "writing"])
def test_an_interrupt_outside_the_search_ends_the_command_and_leaves_nothing(
    stage: str, tmp_path: Path
) -> None:
    quick = ("--search-seconds=0", "--board=raspberry-pi-4", "--prove-runtime=never")
    with converting(tmp_path, *quick) as conversion:
        conversion.wait_for(stage)
        conversion.interrupt()
        code, out = conversion.end()
    written = (tmp_path / "out").exists()
    assert (code, bool(out), written) in {(1, False, False), (0, True, True)}
    assert code == 1 or stage == "writing"  # which may be done before
    assert not list(tmp_path.glob(".out.*"))
    assert not list((tmp_path / "scratch").glob("edgekit-*"))
