"""What the world does to one real device: disks, clocks, and processes that hang or die.

Each test asserts both halves: a model still answers, and somebody is told why not more.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

from edgekit.errors import EdgekitError
from edgekit.manifest import MODEL_NAME
from edgekit_agent import memory
from tests.agent.making import Made, made
from tests.e2e.household import Household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0)
_MB = 2**20
WATCHDOG_S = 45.0  # pinged every 10 s, silent for 30


def large() -> Made:
    """Return a bundle whose download can be met underway; packing it takes seconds."""
    return made(version="2", scale=3.0, padding_bytes=8_000_000)


def told(house: Household, kind: str, *words: str) -> None:
    """Wait for a report that says why; the first model must answer all the while."""

    def heard() -> bool:
        assert house.answer() == [6.0]
        trouble = house.trouble()
        reason = trouble.get("reason", "")
        return trouble.get("kind") == kind and all(word in reason for word in words)

    house.until(heard, f"a trouble {kind} with {words} is reported")


# --- disks -----------------------------------------------------------------------------


@contextmanager
def disk(path: Path, size_mb: int) -> Iterator[Path]:
    """A file system of its own, so small that it can be filled."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root; `sudo -E make test` runs it")
    path.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(path))
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)  # noqa: S607 - of the system


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)  # noqa: S607 - of the system


@pytest.fixture
def on_a_small_disk(house: Household) -> Iterator[Household]:
    """The agent serves version 1 from a state folder on a disk of 24 MB."""
    with disk(house.folder / "state", 24):
        house.release(FIRST, 1)
        house.start_agent()
        house.until(lambda: house.serves("1"), "version 1 is served")
        yield house
        house.stop("agent")


def fill(folder: Path, *, leave_bytes: int) -> Path:
    """Take what is free on a disk, but for so much; return the file that takes it."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:  # others write, too
        free = os.statvfs(folder)
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - leave_bytes)))
    return ballast


def test_a_disk_with_too_little_room_is_named_in_bytes_and_the_update_waits_for_it(
    on_a_small_disk: Household,
) -> None:
    house = on_a_small_disk
    ballast = fill(house.folder / "state", leave_bytes=4 * _MB)
    house.release(large(), 2)
    told(house, "not-now", "disk", "MB is free")
    ballast.unlink()
    house.until(lambda: house.serves("2"), "the update finishes by itself")


def test_a_disk_full_to_the_last_byte_costs_the_update_and_nothing_else(
    on_a_small_disk: Household,
) -> None:
    house = on_a_small_disk
    ballast = fill(house.folder / "state", leave_bytes=0)
    house.release(SECOND, 2)
    told(house, "not-now", "No space left on device, 0 bytes are free")
    house.power_cut()
    house.start_agent()
    house.until(lambda: house.serves("1"), "version 1 is served after a power cut, too")
    ballast.unlink()
    house.until(lambda: house.serves("2"), "the update finishes by itself")


def test_a_disk_that_fills_up_during_the_fetch_loses_no_model(
    on_a_small_disk: Household,
) -> None:
    house = on_a_small_disk
    incoming = house.folder / "state" / "incoming"
    house.stop("depot")
    house.start_depot("--max-rate", "1000")  # 8 s for the bundle
    house.release(large(), 2)
    house.until(lambda: any(incoming.glob("*.part")), "the fetch has begun")
    ballast = fill(house.folder / "state", leave_bytes=0)
    told(house, "not-now", "No space left on device", "bytes are free")
    ballast.unlink()
    house.until(lambda: house.serves("2"), "the update finishes by itself")


def test_a_disk_that_became_read_only_is_served_from_and_reported(
    on_a_small_disk: Household,
) -> None:
    house = on_a_small_disk
    state = str(house.folder / "state")
    house.stop("agent")
    mount("-o", "remount,ro", state)
    house.start_agent()
    house.until(lambda: house.serves("1"), "version 1 is served")
    house.release(SECOND, 2)
    told(house, "not-now", "Read-only file system")
    mount("-o", "remount,rw", state)
    house.until(lambda: house.serves("2"), "the update finishes by itself")


def flip_a_bit(house: Household, what: Made) -> None:
    path = house.folder / "state" / "bundles" / what.sha256 / MODEL_NAME
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_bit_that_flipped_in_the_only_bundle_is_noticed_and_fetched_again(
    serving: Household,
) -> None:
    serving.stop("agent")
    flip_a_bit(serving, FIRST)
    serving.start_agent()
    serving.until(lambda: serving.serves("1"), "version 1 is fetched again and served")
    assert serving.answer() == [6.0]
    assert "changed on the disk" in serving.log


def test_a_bit_that_flipped_in_the_current_bundle_lets_the_previous_one_serve(
    serving: Household,
) -> None:
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "version 2 is served")
    serving.stop("agent")
    flip_a_bit(serving, SECOND)
    blob = serving.repository / "blobs" / SECOND.sha256
    blob.unlink()  # nobody can send it again for now
    serving.start_agent()
    serving.until(lambda: serving.serves("1"), "the previous version serves")
    told(serving, "not-now", "changed on the disk")
    blob.write_bytes(SECOND.data)
    serving.until(lambda: serving.serves("2"), "version 2 is fetched again")


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\x00" * 512, b"[]", b'{"format": 2}', b'{"format": 1, "phase": 7}'],
    ids=["empty", "cut", "zeroed", "no-object", "other-format", "wrong-types"],
)
def test_a_damaged_record_is_put_aside_and_the_bundles_are_found_without_a_download(
    serving: Household, damage: bytes
) -> None:
    serving.stop("agent")
    record = serving.folder / "state" / "models" / "wine" / "state.json"
    record.write_bytes(damage)
    record.with_suffix(".copy").write_bytes(damage)
    shutil.rmtree(serving.repository / "blobs")  # nobody could send it again
    serving.start_agent()
    serving.until(lambda: serving.serves("1"), "version 1 is served")
    assert serving.answer() == [6.0]
    assert record.with_suffix(".damaged").read_bytes() == damage
    assert "starting afresh" in serving.log


def test_a_damaged_record_and_no_broker_leave_the_model_serving(
    serving: Household,
) -> None:
    serving.stop("agent")
    serving.broker.stop()
    record = serving.folder / "state" / "models" / "wine" / "state.json"
    damage = bytearray(record.read_bytes())
    damage[len(damage) // 2] ^= 1
    record.write_bytes(damage)
    serving.start_agent()
    serving.until(lambda: serving.serves("1"), "version 1 is served")
    assert record.with_suffix(".damaged").read_bytes() == damage
    assert "its copy is read" in serving.log


# --- clocks ----------------------------------------------------------------------------

_FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def clock(date: str) -> dict[str, str]:
    """Return the environment in which it is a certain day; waiting takes its usual time.

    Only time.sleep() does not end before 2000: there, an agent is ended by a power cut.
    """
    if not _FAKETIME:
        pytest.skip("no libfaketime; `apt install faketime` provides it")
    return {
        "LD_PRELOAD": str(_FAKETIME[0]),
        "FAKETIME": f"@{date}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def test_a_device_that_boots_in_1970_serves_and_follows_new_releases(
    serving: Household,
) -> None:
    serving.stop("agent")
    serving.start_agent(**clock("1970-01-01 00:00:10"))
    serving.until(lambda: serving.serves("1"), "version 1 is served")
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "signed times are believed, not the clock")
    serving.until(lambda: serving.reported().get("phase") == "serving", "it is reported")
    assert str(serving.persisted()["current"]).count("1970-01-01") == 1
    serving.power_cut()


def test_a_device_whose_first_start_is_in_1970_gets_its_model(house: Household) -> None:
    house.release(FIRST, 1)
    house.start_agent(**clock("1970-01-01 00:00:10"))
    house.until(lambda: house.serves("1"), "version 1 is served")
    house.power_cut()


def test_a_device_that_boots_in_2040_serves_on_reports_and_recovers(
    serving: Household,
) -> None:
    serving.stop("agent")
    serving.start_agent(**clock("2040-01-01 00:00:00"))
    serving.until(lambda: serving.serves("1"), "version 1 is served")
    serving.release(SECOND, 2)
    told(serving, "rejected", "expired")
    serving.stop("agent")
    serving.start_agent()
    serving.until(lambda: serving.serves("2"), "with the right clock, version 2 is taken")


def follow(house: Household, policy: str) -> None:
    """Let the device have another policy of staleness."""
    path = house.folder / "agent.toml"
    text = path.read_text("utf-8")
    assert 'staleness = "refuse"' in text
    path.write_text(
        text.replace('staleness = "refuse"', f'staleness = "{policy}"'), "utf-8"
    )


def test_a_device_that_may_doubt_its_clock_takes_a_release_in_2040(
    serving: Household,
) -> None:
    serving.stop("agent")
    follow(serving, "accept")
    serving.start_agent(**clock("2040-01-01 00:00:00"))
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "version 2 is taken by its signed times")
    serving.until(lambda: serving.device_report().get("stale") is True, "it says so")


def test_a_device_that_must_stop_when_stale_stops_and_comes_back(
    serving: Household,
) -> None:
    """The clock jumps to 2040 and back while the agent runs."""
    serving.stop("agent")
    follow(serving, "stop")
    hands = serving.folder / "clock"
    hands.write_text("+0")
    running = clock("2040-01-01 00:00:00")
    del running["FAKETIME"]
    running |= {"FAKETIME_TIMESTAMP_FILE": str(hands), "FAKETIME_NO_CACHE": "1"}
    serving.start_agent(**running)
    serving.until(lambda: serving.serves("1"), "version 1 is served")
    hands.write_text("+14y")
    serving.until(lambda: not serving.serves("1"), "it answers no more")
    serving.until(lambda: serving.device_report().get("stale") is True, "it says so")
    assert "requests are not answered until signatures are fresh" in serving.log
    hands.write_text("+0")
    serving.until(lambda: serving.serves("1"), "it answers again, by itself")
    serving.until(lambda: serving.device_report().get("stale") is False, "it says so")


# --- processes that hang or die --------------------------------------------------------


def test_a_worker_that_hangs_is_replaced_within_the_watchdogs_time(
    serving: Household,
) -> None:
    hung, began_s = serving.worker(), time.monotonic()
    os.kill(hung, signal.SIGSTOP)
    serving.until(
        lambda: serving.worker() not in {0, hung}, "a new worker is started", patience_s=90
    )
    assert time.monotonic() - began_s < WATCHDOG_S
    serving.until(lambda: serving.serves("1"), "it answers")
    assert "no sign of life" in serving.log


def test_a_worker_that_memory_runs_out_for_loses_no_model(serving: Household) -> None:
    for _ in range(4):  # more often than a new version on probation would survive
        serving.until(lambda: serving.rests_on("1"), "version 1 is served")
        os.kill(serving.worker(), signal.SIGKILL)
    serving.until(lambda: serving.serves("1"), "version 1 is served")
    assert serving.trouble()["reason"] == "the worker ended: killed by SIGKILL"
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "updates go on")


def test_an_updater_that_is_killed_is_reported_and_the_update_finishes(
    serving: Household,
) -> None:
    serving.stop("depot")
    serving.start_depot("--max-rate", "1000")  # 8 s for the bundle
    serving.release(large(), 2)
    serving.until(lambda: serving.updater() != 0, "an updater runs")
    os.kill(serving.updater(), signal.SIGKILL)
    serving.until(lambda: serving.serves("2"), "the update is finished")
    assert "the updater ended without an answer: killed by SIGKILL" in serving.log


# --- back and forth --------------------------------------------------------------------


class Asking:
    """Somebody who asks without a pause, in a thread, and notes which version answered."""

    def __init__(self, house: Household) -> None:
        self._house = house
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.failures: list[str] = []
        self.last = ""
        self.count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ended.is_set():
            try:
                self.last = self._house.ask().version
                self.count += 1
            except EdgekitError as error:
                self.failures.append(str(error))


def test_twenty_swaps_under_constant_requests_lose_none_and_grow_nothing(
    serving: Household,
) -> None:
    sizes = []
    with Asking(serving) as asking:
        for rollout in range(2, 22):
            what = SECOND if rollout % 2 == 0 else FIRST
            serving.release(what, rollout)
            version = what.manifest.model.version
            serving.until(
                lambda version=version: asking.last == version,  # type: ignore[misc]  # one each
                f"version {version} answers",
            )
            sizes.append(memory.rss_bytes(serving.worker()))
    assert asking.failures == []
    assert asking.count > 20 * len(sizes)
    assert max(sizes) < 1.15 * sizes[0]
