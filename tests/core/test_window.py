import json
import threading
import zlib
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.durations import MAX_US, Durations
from edgekit.errors import TransportError
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.refusals import MAX_NUMBER, Reason, RefusalCounter, labelled
from edgekit.telemetry.taken import Arrival, Taken, admit, messages
from edgekit.telemetry.window import MAX_PLAIN_BYTES, Health, Window

numbers = st.integers(0, 10**6)
bundles = st.builds(
    BundleCounts,
    model=st.sampled_from(["wine", "motor"]),
    version=st.just("1"),
    flavor=st.just("fp32"),
    sha256=st.sampled_from(["a" * 64, "b" * 64]),
    requests=numbers,
    rows=numbers,
    errors=numbers,
    violations=st.dictionaries(st.sampled_from(["", "x", "y"]), numbers),
    durations=st.dictionaries(st.integers(0, 255), numbers),
    most_us=st.integers(0, MAX_US),
    inputs=st.sampled_from([(), ((1, 2, 0), (3, 0, 0, 4)), ((0, 0, 7), (1, 1, 1, 1))]),
    outputs=st.sampled_from([(), ((5, 6),)]),
)
healths = st.builds(
    Health,
    supervisor_rss_bytes=numbers,
    worker_rss_bytes=numbers,
    cpu_c=st.none() | st.floats(-40, 120),
    throttled=st.none() | st.booleans(),
    disk_free_bytes=st.none() | numbers,
    load=st.none() | st.floats(0, 100),
)


def window(number: int, health: Health, found: list[BundleCounts]) -> Window:
    kept = {(one.model, one.sha256): one for one in found}
    return Window(
        device="pi-7",
        boot_id="b",
        first=number,
        last=number,
        start=f"2026-01-01T00:{number:02}:00Z",
        end=f"2026-01-01T00:{number + 1:02}:00Z",
        health=health,
        dropped=number % 2,
        bundles=tuple(kept[key] for key in sorted(kept)),
        refusals={Reason.HTTP_PATH: number, MAX_NUMBER: 1} if found else {},
    )


runs = st.lists(st.tuples(healths, st.lists(bundles, max_size=4)), min_size=3, max_size=6)


@given(runs, st.data())
def test_any_way_to_merge_says_the_same_and_travels(
    run: list[tuple[Health, list[BundleCounts]]], data: st.DataObject
) -> None:
    windows = [window(number, *one) for number, one in enumerate(run, 1)]
    whole = reduce(Window.merged, windows)
    while len(windows) > 1:
        at = data.draw(st.integers(0, len(windows) - 2))
        windows[at : at + 2] = [windows[at].merged(windows[at + 1])]
    assert windows[0] == whole
    assert Window.decode(whole.encode()) == whole
    refused = {Reason.HTTP_PATH: 0, MAX_NUMBER: 0}
    for number, (_, found) in enumerate(run, 1):
        refused[Reason.HTTP_PATH] += number * bool(found)
        refused[MAX_NUMBER] += bool(found)
    assert whole.refusals == (refused if refused[MAX_NUMBER] else {})
    asked = sum(bundle.requests for _, found in run for bundle in _last_of_each(found))
    assert sum(bundle.requests for bundle in whole.bundles) == asked


def _last_of_each(found: list[BundleCounts]) -> list[BundleCounts]:
    return list({(one.model, one.sha256): one for one in found}.values())


def test_only_neighbours_of_one_life_merge() -> None:
    one = window(1, Health(), [])
    with pytest.raises(ValueError, match="does not follow"):
        one.merged(window(3, Health(), []))
    with pytest.raises(ValueError, match="does not follow"):
        one.merged(replace(window(2, Health(), []), boot_id="c"))


def counted(columns: int) -> BundleCounts:
    durations = Durations()
    for us in range(80, 200, 3):
        durations.add(us)
    bins = tuple((37 * at) % 11 for at in range(16))
    return BundleCounts(
        model="wine",
        version="3",
        flavor="int8-weight-only",
        sha256="0123456789abcdef" * 4,
        requests=60,
        rows=60,
        durations=durations.buckets,
        most_us=durations.most_us,
        inputs=((*bins, 0),) * columns,
        outputs=((30, 30, 0, 0), (*bins, 0)),
    )


def test_a_window_of_20_features_takes_less_than_a_kilobyte() -> None:
    health = Health(
        supervisor_rss_bytes=30_000_000, worker_rss_bytes=62_000_000, cpu_c=51.5, load=0.3
    )
    bare = replace(window(40, health, [counted(20)]), boot_id="0123456789abcdef" * 2)
    assert len(bare.encode()) < 1_000


def places(payload: bytes) -> list[object]:
    plain = zlib.decompress(payload) if payload[:1] == b"\x78" else payload
    found = json.loads(plain)
    assert isinstance(found, list)
    return found


def test_refusals_cost_no_byte_until_there_are_some_and_then_few() -> None:
    bare = window(40, Health(), [])
    refused = replace(bare, refusals={Reason.HTTP_PATH: 3, Reason.ASK_BUSY: 1200})
    assert places(bare.encode())[10:] == []
    assert places(refused.encode())[10:] == [[3, 3, 21, 1200]]
    assert len(refused.encode()) - len(bare.encode()) <= 20
    before = json.dumps(places(refused.encode())[:10]).encode()
    assert Window.decode(before).refusals == {}, "as agents before wrote it"


def test_a_reason_that_a_newer_agent_gives_is_counted_by_its_number() -> None:
    told = {Reason.HTTP_BUSY: 2, 200: 7}
    assert labelled(told) == {"http-busy": 2, "reason-200": 7}
    newer = replace(window(1, Health(), []), refusals=told)
    assert Window.decode(newer.encode()).refusals == told


def test_what_is_counted_from_many_threads_is_taken_once() -> None:
    refusals = RefusalCounter()
    found: list[int] = []
    over = threading.Event()

    def take() -> None:
        while not over.is_set():
            found.append(refusals.take().get(Reason.ASK_BUSY, 0))

    def refuse() -> None:
        for _ in range(2_000):
            refusals.add(Reason.ASK_BUSY)

    taker = threading.Thread(target=take)
    refusers = [threading.Thread(target=refuse) for _ in range(4)]
    for thread in (taker, *refusers):
        thread.start()
    for thread in refusers:
        thread.join()
    over.set()
    taker.join()
    assert sum(found) + refusals.take().get(Reason.ASK_BUSY, 0) == 8_000
    assert refusals.take() == {}


def test_a_window_too_long_to_travel_says_so_and_is_shorter_reduced() -> None:
    many = [
        replace(counted(250), sha256=f"{n:064x}", inputs=((n * 10**9 + 12345,) * 33,) * 250)
        for n in range(64)
    ]
    long = window(1, Health(), many)
    with pytest.raises(ValueError, match="bytes"):
        long.encode()
    short = Window.decode(long.reduced().encode())
    assert [one.requests for one in short.bundles] == [60] * 64


def test_garbage_is_refused_within_bounded_memory() -> None:
    good = window(1, Health(), [counted(2)]).encode()
    twice, odd, far = [1, 1, 1, 1], [1, 1, 2], [MAX_NUMBER + 1, 1]
    bomb = zlib.compress(b"[" + b"0," * MAX_PLAIN_BYTES)
    squeezed = zlib.compress(b"[2]")
    for bad in (b"", b"{}", b"[]", b"[2]", b"\x78", bomb, squeezed[:-1], squeezed + b"x"):
        with pytest.raises(TransportError):
            Window.decode(bad)
    with pytest.raises(TransportError, match="65537 bytes"):
        Window.decode(b"[" * 65_537)
    with pytest.raises(TransportError):
        Window.decode(b"[" * 60_000)
    row = places(good)
    for refusals in (twice, odd, far):
        with pytest.raises(TransportError):
            Window.decode(json.dumps([*row[:10], refusals]).encode())
    for place in range(len(row)):
        wrongs: tuple[object, ...] = (None, -1, "\x1b[2J", [[]], {}, 2**70, True)
        for wrong in wrongs:
            changed = json.dumps([*row[:place], wrong, *row[place + 1 :]]).encode()
            with pytest.raises(TransportError):
                Window.decode(changed)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for decode in (Window.decode, Taken.decode):
        try:
            decode(data)
        except TransportError:
            continue


def test_histograms_of_other_bins_do_not_add() -> None:
    one = counted(1)
    with pytest.raises(TransportError, match="bins"):
        one.plus(replace(one, inputs=((1, 2),)))


@given(st.permutations(range(1, 12)), st.lists(st.integers(0, 10), max_size=10))
def test_each_window_is_new_once_in_any_order(order: list[int], again: list[int]) -> None:
    known: tuple[tuple[int, int], ...] = ()
    for number in order:
        arrival, known = admit(known, (number, number))
        assert arrival is Arrival.NEW
    assert known == ((1, 11),)
    for number in again:
        assert admit(known, (number + 1, number + 1)) == (Arrival.KNOWN, known)


def test_what_overlaps_is_not_counted_again() -> None:
    _, known = admit((), (5, 9))
    for overlapping in ((4, 5), (9, 12), (1, 20)):
        assert admit(known, overlapping) == (Arrival.PARTLY_KNOWN, known)
    assert admit(known, (6, 7)) == (Arrival.KNOWN, known)
    assert admit(known, (11, 12)) == (Arrival.NEW, ((5, 9), (11, 12)))
    assert admit(known, (1, 3)) == (Arrival.NEW, ((1, 3), (5, 9)))


def test_acknowledgements_fit_their_messages() -> None:
    ranges = [(2 * n + 10**9, 2 * n + 10**9) for n in range(1_000)]
    told = [Taken.decode(one.encode()) for one in messages("b" * 32, ranges)]
    assert {one for part in told for one in part.windows} == set(ranges)
    with pytest.raises(TransportError, match="whole number"):
        Taken.decode(b'{"boot_id":"b","windows":[[1,-2]]}')
