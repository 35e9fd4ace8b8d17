"""The spool of telemetry, cut off and filled up at every single operation on it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit.errors import StoreError
from edgekit.telemetry.window import Window
from edgekit_agent.rules.backlog import BLOCK_BYTES
from edgekit_agent.storage.spool import Spool
from tests.agent.windows import requests, window
from tests.power import Disk, PowerCutError, full

WINDOWS = 12
PLACES = 5


@dataclass
class Life:
    """What a device did with its windows, as far as it came."""

    kept: dict[int, int] = field(default_factory=dict)  # requests, by sequence number
    sent: set[tuple[int, int]] = field(default_factory=set)
    taken: set[tuple[int, int]] = field(default_factory=set)

    def live(self, folder: Path) -> None:
        """Keep windows, send some, have one taken; the spool is full for half of it."""
        spool = Spool(folder / "telemetry", most_bytes=PLACES * BLOCK_BYTES)
        spool.open()
        for number in range(1, WINDOWS + 1):
            one = window(number, requests=number)
            last = spool.entries[-1] if spool.entries else None
            if number % 5 == 0 and last is not None and not last.sent:
                spool.extend(last, one)
            else:
                spool.add(one, sent=False)
            self.kept[number] = number
            if number == 7:
                marked = spool.mark_sent(spool.entries[0])
                self.sent.add((marked.first, marked.last))
            if number == 9:
                first = spool.entries[0]
                self.taken.add((first.first, first.last))
                spool.remove(first)


def prepared(folder: Path) -> Path:
    (folder / "telemetry").mkdir(parents=True)
    return folder


def operations(folder: Path) -> range:
    disk = Disk(prepared(folder))
    with disk.watched():
        Life().live(folder)
    return range(len(disk.operations))


def found(folder: Path) -> Iterator[tuple[Window, bool]]:
    spool = Spool(folder / "telemetry", most_bytes=100 * BLOCK_BYTES)
    spool.open()
    assert spool.take_losses() == (0, 0, 0), "no half of a window is left"
    for entry in spool.entries:
        yield Window.decode(spool.payload(entry)), entry.sent


def check(life: Life, folder: Path) -> None:
    covered: dict[int, tuple[int, int]] = {}
    for one, sent in found(folder):
        key = (one.first, one.last)
        numbers = range(one.first, one.last + 1)
        assert requests(one) == sum(numbers), "it counts what its parts counted"
        assert not covered.keys() & set(numbers), "nothing counts twice"
        covered |= dict.fromkeys(numbers, key)
        overlaps = [other for other in life.sent if other[0] in numbers]
        assert overlaps in ([], [key]), "what may have arrived stays as it was"
        assert sent or not overlaps
    gone = {n for first, last in life.taken for n in range(first, last + 1)}
    assert life.kept.keys() - gone <= covered.keys(), "what was kept is there"


@pytest.mark.slow
def test_a_power_cut_anywhere_loses_no_window_that_was_kept(tmp_path: Path) -> None:
    for number in operations(tmp_path / "whole"):
        folder = prepared(tmp_path / f"cut-{number}")
        disk, life = Disk(folder, fail_at=number), Life()
        with disk.watched(), pytest.raises(PowerCutError):
            life.live(folder)
        for seed in range(4):
            check(life, disk.after_power_cut(tmp_path / f"boot-{number}-{seed}", seed))


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_moment_loses_nothing_either(tmp_path: Path) -> None:
    for number in operations(tmp_path / "whole"):
        folder = prepared(tmp_path / f"full-{number}")
        disk, life = Disk(folder, fail_at=number, fail=full, for_good=False), Life()
        with disk.watched(), suppress(StoreError):
            life.live(folder)
        check(life, folder)
