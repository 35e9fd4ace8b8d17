"""What is mixed into one sending: as many devices as possible lack exactly one of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.depot.coding import Lack, mixture
from edgekit.wire import MAX_MIXED


def lack(*numbers: int, coded: bool = True) -> Lack:
    return Lack(chunks=sum(1 << n for n in numbers), coded=coded)


def served(numbers: tuple[int, ...], lacks: list[Lack]) -> int:
    mask = sum(1 << n for n in numbers)
    if len(numbers) == 1:
        return sum(1 for one in lacks if one.chunks & mask)
    return sum(1 for one in lacks if one.coded and (one.chunks & mask).bit_count() == 1)


@pytest.mark.parametrize(
    ("lacks", "expected"),
    [
        ([lack(1)], (1,)),
        ([lack(1), lack(2)], (1, 2)),
        ([lack(1), lack(1, 2)], (1,)),  # both have it from 1 as it is
        ([lack(1, 2), lack(2), lack(3)], (1, 3)),
        ([lack(1, coded=False), lack(2), lack(3)], (1,)),  # the first takes no mixture
        ([lack(1, 2, 3), lack(1, 2, 3), lack(3)], (1,)),
    ],
)
def test_what_is_mixed(lacks: list[Lack], expected: tuple[int, ...]) -> None:
    assert mixture(1, lacks) == expected


def test_one_that_lacks_everything_does_not_keep_many_waiting() -> None:
    new = lack(*range(100))
    assert mixture(0, [new, *(lack(n) for n in range(20, 40))]) != (0,)
    assert mixture(0, [new, *(lack(n) for n in range(20, 23))]) == (0,)


MASKS = st.integers(1, 2**60 - 1)


@given(st.lists(st.builds(Lack, chunks=MASKS, coded=st.booleans()), min_size=1))
def test_a_mixture_has_its_first_chunk_and_serves_somebody(lacks: list[Lack]) -> None:
    first = (lacks[0].chunks & -lacks[0].chunks).bit_length() - 1
    numbers = mixture(first, lacks)
    assert first in numbers
    assert list(numbers) == sorted(set(numbers))
    assert len(numbers) <= MAX_MIXED
    assert served(numbers, lacks) > 0
