"""Properties of the delivery protocol over generated fleets, links and accidents."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation import Device, Simulation

SECONDS = st.floats(0, 3)


@st.composite
def fleets(draw: st.DrawFn, *, most_loss: float, restarts: bool = False) -> list[Device]:
    return [
        Device(
            name=f"d{n}",
            joins_at=draw(SECONDS),
            loss=draw(st.floats(0, most_loss)),
            delay_s=draw(st.floats(0, 0.3)),
            restarts_at=draw(st.none() | SECONDS) if restarts else None,
        )
        for n in range(draw(st.integers(1, 6)))
    ]


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.integers(1, 60),
    devices=fleets(most_loss=0.9, restarts=True),
    seed=st.integers(0, 2**16),
    window=st.integers(1, 16),
)
def test_every_device_finishes_under_any_loss(
    chunks: int, devices: list[Device], seed: int, window: int
) -> None:
    run = Simulation(chunks, devices, seed=seed, window=window).run(limit_s=10**7)
    assert run.unfinished == []
    assert run.accepted_twice == []


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.integers(1, 60),
    devices=fleets(most_loss=0),
    window=st.integers(1, 16),
)
def test_without_loss_nothing_is_sent_that_nobody_lacks(
    chunks: int, devices: list[Device], window: int
) -> None:
    run = Simulation(chunks, devices, window=window).run()
    assert run.unfinished == []
    assert run.needless == []
    assert len(run.sent) <= chunks * len(devices)


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.integers(1, 60),
    devices=fleets(most_loss=0.5),
    seed=st.integers(0, 2**16),
)
def test_under_loss_only_what_was_lost_is_sent_again(
    chunks: int, devices: list[Device], seed: int
) -> None:
    run = Simulation(chunks, devices, seed=seed).run()
    assert run.unfinished == []
    assert run.needless == []


@settings(max_examples=30, deadline=None)
@given(chunks=st.integers(1, 60), devices=fleets(most_loss=0.3), seed=st.integers(0, 999))
def test_dead_devices_delay_nobody_for_ever(
    chunks: int, devices: list[Device], seed: int
) -> None:
    dead = [Device(f"dead{n}", dies_at=0.05) for n in range(len(devices) + 1)]
    run = Simulation(chunks, [*devices, *dead], seed=seed).run()
    assert set(run.unfinished) <= {d.name for d in dead}


@settings(max_examples=20, deadline=None)
@given(chunks=st.integers(1, 40), devices=fleets(most_loss=0.5), seed=st.integers(0, 999))
def test_the_same_events_give_the_same_sendings(
    chunks: int, devices: list[Device], seed: int
) -> None:
    copies = [Device(d.name, d.joins_at, d.loss, d.delay_s) for d in devices]
    first = Simulation(chunks, devices, seed=seed).run()
    assert Simulation(chunks, copies, seed=seed).run().sent == first.sent
