"""Bytes from outside, damaged in every way: taken, or refused with a sentence.

Seeds are what is right; hypothesis damages them. `make fuzz` goes on where this ends.
"""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.damage import damaged
from tests.fuzz.table import SURFACES


@pytest.mark.parametrize("name", SURFACES)
def test_what_is_right_is_taken(name: str) -> None:
    surface = SURFACES[name]
    for seed in surface.seeds():
        assert surface.feed(seed) is None


@pytest.mark.timeout(120)  # a hang is a defect, too
@pytest.mark.parametrize("name", SURFACES)
def test_what_is_damaged_is_taken_or_refused_with_a_sentence(name: str) -> None:
    surface = SURFACES[name]
    seeds = surface.seeds()

    for seed in seeds:

        @settings(
            max_examples=max(5, surface.examples // len(seeds)),
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(damaged(seed, surface.form))
        def fed(data: bytes) -> None:
            surface.feed_measured(data)

        fed()


def changed(name: str, old: bytes, new: bytes) -> bytes:
    """A surface's first seed that holds `old`, with `new` in its place."""
    seed = next(seed for seed in SURFACES[name].seeds() if old in seed)
    return seed.replace(old, new, 1)


DIGITS = b"9" * 5_000
FOUND = [
    ("agent.toml", b"format = 1", b"format = " + DIGITS),
    ("fleet.toml", b"0.015", b"[" * 5_000 + b"]" * 5_000),
    ("board.toml", b"cores = ", b"cores = " + DIGITS),
    ("signature", b'{"dtype": "float32"', b'{"dtype": "(1000000,1000000)f4"'),
    ("golden", b'"dtype":"int64"', b'"dtype":",nt64"'),
    ("proof-manifest", b'"dtype":"float32"', b'"dtype":",loat32"'),
    ("proof-manifest", b'"tensor":"y"', b'"tensor":"z"'),
    ("proof-manifest", b'"dtype":"float64"', b'"dtype":"float65"'),
    ("proposal", b'"version":1', b'"version":0.5'),
]


@pytest.mark.parametrize(("name", "old", "new"), FOUND)
def test_what_once_brought_a_surface_down_is_refused(
    name: str, old: bytes, new: bytes
) -> None:
    assert SURFACES[name].feed(changed(name, old, new)) is not None


def test_half_a_surrogate_pair_inside_an_object_is_refused_by_every_signature() -> None:
    SURFACES["rows-json"].feed(changed("rows-json", b'"v"', b'"\\ud800"'))
