import errno
import os
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from edgekit.errors import StoreError
from edgekit.telemetry.refusals import Reason
from edgekit.telemetry.window import Health, Window
from edgekit_agent.rules.backlog import BLOCK_BYTES
from edgekit_agent.storage.spool import Spool
from edgekit_agent.storage.window_file import CorruptError
from tests.agent.windows import requests, window


def spool(folder: Path, *, windows: int = 100) -> Spool:
    found = Spool(folder / "telemetry", most_bytes=windows * BLOCK_BYTES)
    found.open()
    return found


def kept(found: Spool) -> list[tuple[str, int, int, bool]]:
    return [(one.boot_id, one.first, one.last, one.sent) for one in found.entries]


def total(found: Spool) -> int:
    return sum(requests(read(found, number)) for number in range(len(found.entries)))


def read(found: Spool, number: int) -> Window:
    return Window.decode(found.payload(found.entries[number]))


def test_windows_survive_a_restart_in_their_order(tmp_path: Path) -> None:
    first = spool(tmp_path)
    first.add(window(1), sent=True)
    first.add(window(2), sent=False)
    first.mark_sent(first.add(window(3), sent=False))
    again = spool(tmp_path)
    assert kept(again) == [("b-1", 1, 1, True), ("b-1", 2, 2, False), ("b-1", 3, 3, True)]
    again.add(window(1, boot_id="b-2"), sent=False)
    assert kept(spool(tmp_path))[-1] == ("b-2", 1, 1, False)


def test_a_full_spool_makes_time_coarse_from_the_oldest_and_loses_no_count(
    tmp_path: Path,
) -> None:
    found = spool(tmp_path, windows=8)
    for number in range(1, 41):
        found.add(window(number, requests=number), sent=False)
    spans = [one.span for one in found.entries]
    assert len(spans) <= 8
    assert spans[0] == max(spans) > spans[-1]
    assert total(found) == sum(range(1, 41))
    assert found.take_losses() == (0, 0, 0)
    assert kept(spool(tmp_path, windows=8)) == kept(found)


def test_what_may_have_arrived_is_never_merged_and_goes_only_when_nothing_else_can(
    tmp_path: Path,
) -> None:
    found = spool(tmp_path, windows=4)
    for number in range(1, 5):
        found.add(window(number), sent=True)
    found.add(window(5), sent=False)
    found.add(window(6), sent=False)
    assert kept(found)[:2] == [("b-1", 2, 2, True), ("b-1", 3, 3, True)]
    assert kept(found)[2:] == [("b-1", 4, 4, True), ("b-1", 5, 6, False)]
    assert found.take_losses() == (1, 0, 0)
    assert total(found) == 5


def test_lives_are_not_merged_with_each_other(tmp_path: Path) -> None:
    found = spool(tmp_path, windows=2)
    for life in range(3):
        for number in range(1, 4):
            found.add(window(number, boot_id=f"b-{life}"), sent=False)
    assert kept(found) == [("b-1", 1, 3, False), ("b-2", 1, 3, False)]
    assert found.take_losses() == (3, 0, 0)


@pytest.mark.parametrize("spoiled", ["cut", "flipped", "emptied", "other"])
def test_a_window_the_disk_changed_is_dropped_and_counted(
    tmp_path: Path, spoiled: str
) -> None:
    first = spool(tmp_path)
    first.add(window(1), sent=True)
    first.add(window(2), sent=False)
    (path,) = (tmp_path / "telemetry").glob("*1.sent")
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-3],
            "flipped": content[:9] + bytes([content[9] ^ 1]) + content[10:],
            "emptied": b"",
            "other": b"\x00\x00\x00\x00",
        }[spoiled]
    )
    with pytest.raises(CorruptError):
        first.payload(first.entries[0])
    again = spool(tmp_path)
    assert kept(again) == [("b-1", 2, 2, False)]
    assert again.take_losses() == (0, 1, 0)
    assert not path.exists()


def test_a_kill_between_a_merge_and_its_end_counts_nothing_twice(tmp_path: Path) -> None:
    found = spool(tmp_path, windows=2)
    found.add(window(1), sent=False)
    found.add(window(2), sent=False)
    before = (tmp_path / "telemetry" / "0000000002.new").read_bytes()
    found.add(window(3), sent=False)
    assert kept(found) == [("b-1", 1, 2, False), ("b-1", 3, 3, False)]
    (tmp_path / "telemetry" / "0000000002.new").write_bytes(before)
    again = spool(tmp_path, windows=2)
    assert kept(again) == kept(found)
    assert total(again) == 3


def test_windows_of_other_bins_stay_apart(tmp_path: Path) -> None:
    found = spool(tmp_path, windows=3)
    first = found.add(window(1, histograms=1), sent=False)
    found.extend(first, window(2, histograms=2))
    assert len(found.entries) == 2
    found.add(window(3, histograms=3), sent=False)
    found.add(window(4, histograms=4), sent=False)
    assert found.take_losses() == (1, 0, 0)
    assert total(found) == 3


def test_windows_whose_sum_no_window_can_tell_stay_apart(tmp_path: Path) -> None:
    found = spool(tmp_path)
    first = found.add(window(1, requests=2**53), sent=False)
    found.extend(first, window(2, requests=2**53))
    again = spool(tmp_path)
    assert (again.take_losses(), total(again)) == ((0, 0, 0), 2**54)


def test_growing_keeps_one_window(tmp_path: Path) -> None:
    found = spool(tmp_path)
    entry = found.add(window(1), sent=False)
    for number in range(2, 6):
        entry = found.extend(entry, window(number))
    assert kept(spool(tmp_path)) == [("b-1", 1, 5, False)]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    found = spool(tmp_path)
    (tmp_path / "telemetry").chmod(0o500)
    with pytest.raises(StoreError):
        found.add(window(1), sent=False)


def test_the_word_that_a_window_is_lost_takes_its_place_for_good(tmp_path: Path) -> None:
    found = spool(tmp_path)
    found.add(window(1), sent=True)
    found.add(window(2), sent=True)
    before = {path: path.read_bytes() for path in (tmp_path / "telemetry").iterdir()}
    found.refuse(found.entries[0], "pi-7")

    assert kept(found) == [("b-1", 1, 1, False), ("b-1", 2, 2, True)]
    word = read(found, 0)
    assert (word.device, word.refused, word.bundles) == ("pi-7", 1, ())
    assert total(found) == 1
    for path, content in before.items():  # a power cut undoes that it was deleted
        path.write_bytes(content)
    again = spool(tmp_path)
    assert kept(again) == kept(found)
    assert read(again, 0) == word


def test_a_word_that_is_refused_too_is_counted_and_ends_there(tmp_path: Path) -> None:
    found = spool(tmp_path)
    found.add(replace(window(4), last=6), sent=True)
    for _ in range(2):
        found.refuse(found.entries[0], "pi-7")
    assert found.entries == ()
    assert found.take_losses() == (0, 0, 3)
    assert spool(tmp_path).entries == ()


def test_what_a_lost_window_told_of_others_is_told_again(tmp_path: Path) -> None:
    """Refused, and then its word, too; or given up for want of room."""
    telling = replace(window(4), last=6, dropped=5, corrupt=2, refused=1)
    found = spool(tmp_path)
    for _ in range(2):
        found.refuse(
            found.entries[0] if found.entries else found.add(telling, sent=True), "d"
        )
    assert (found.entries, found.take_losses()) == ((), (5, 2, 1 + 3))

    full = spool(tmp_path, windows=1)
    full.add(telling, sent=True)
    full.add(window(7), sent=True)
    assert full.take_losses() == (5 + 3, 2, 1)


def test_a_word_that_finds_no_room_counts_once(tmp_path: Path) -> None:
    found = spool(tmp_path, windows=1)
    found.refuse(found.add(replace(window(4), last=6, dropped=5), sent=True), "pi-7")
    found.add(window(1, boot_id="b-2"), sent=True)
    assert kept(found) == [("b-2", 1, 1, True)]
    assert found.take_losses() == (5, 0, 3)


def test_an_idle_window_that_tells_of_losses_is_no_word_that_it_is_lost(
    tmp_path: Path,
) -> None:
    idle = replace(window(4, requests=0), refused=9)
    for telling in (
        replace(idle, health=Health(supervisor_rss_bytes=1)),
        replace(idle, refusals={Reason.HTTP_PATH: 1}),
    ):
        found = spool(tmp_path)
        found.refuse(found.add(telling, sent=True), "pi-7")
        assert read(found, 0).refused == 9 + 1
        found.refuse(found.entries[0], "pi-7")
        assert found.take_losses() == (0, 0, 9 + 1)


@pytest.mark.parametrize("short_of", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_machine_that_is_short_of_something_for_a_while_loses_no_window(
    tmp_path: Path, short_of: int
) -> None:
    first = spool(tmp_path)
    first.add(window(1), sent=True)
    found = Spool(tmp_path / "telemetry", most_bytes=100 * BLOCK_BYTES)
    with patch.object(Path, "read_bytes", side_effect=OSError(short_of, "short")):
        with pytest.raises(StoreError) as told:
            first.payload(first.entries[0])
        assert not isinstance(told.value, CorruptError)
        with pytest.raises(StoreError):
            found.open()
        with pytest.raises(StoreError):
            found.add(window(2), sent=False)
    found.add(window(2), sent=False)
    assert kept(found) == [("b-1", 1, 1, True), ("b-1", 2, 2, False)]
    assert found.take_losses() == (0, 0, 0)
    assert kept(spool(tmp_path)) == kept(found)


def test_a_folder_that_could_not_be_listed_at_first_is_before_anything_is_added(
    tmp_path: Path,
) -> None:
    spool(tmp_path).add(window(1), sent=False)
    found = Spool(tmp_path / "telemetry", most_bytes=100 * BLOCK_BYTES)
    with (
        patch.object(Path, "iterdir", side_effect=OSError(errno.EMFILE, "short")),
        pytest.raises(StoreError),
    ):
        found.open()
    found.add(window(1, boot_id="b-2"), sent=False)
    assert kept(found) == [("b-1", 1, 1, False), ("b-2", 1, 1, False)]
    assert total(found) == 2


def test_a_disk_that_is_full_leaves_a_refused_window_to_be_refused_again(
    tmp_path: Path,
) -> None:
    found = spool(tmp_path)
    found.add(window(1), sent=True)
    with (
        patch("edgekit.atomic.os.replace", side_effect=OSError(28, "No space left")),
        pytest.raises(StoreError),
    ):
        found.refuse(found.entries[0], "pi-7")
    assert kept(found) == [("b-1", 1, 1, True)]
    assert total(found) == 1
