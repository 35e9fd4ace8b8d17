from random import Random

import pytest

from tests.fuzz.mutation import mutator, restructured
from tests.fuzz.surface import Form
from tests.fuzz.table import SURFACES

DOCUMENTS = {name: one for name, one in SURFACES.items() if one.form is not Form.BYTES}
ROUNDS = range(20)


def dice(number: int) -> Random:
    return Random(number)  # noqa: S311 - nothing secret


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_damaged_once_can_be_damaged_again(name: str) -> None:
    surface = DOCUMENTS[name]
    for seed in surface.seeds():
        once = [restructured(seed, surface.form, dice(n)) for n in ROUNDS]
        assert all(once), "a seed is a document"
        assert len(set(once)) > len(ROUNDS) // 4
        for data in once:
            restructured(data or b"", surface.form, dice(0))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"3", b"[" * 5_000 + b"]" * 5_000])
def test_bytes_that_are_no_document_with_values_are_left_to_libfuzzer(data: bytes) -> None:
    assert restructured(data, Form.JSON, dice(0)) is None
    mutate = mutator(Form.JSON, lambda given, size: given[:size])
    assert {mutate(data, 10_000, seed) for seed in ROUNDS} == {data}


def test_nothing_is_longer_than_it_may_be() -> None:
    mutate = mutator(Form.JSON, lambda given, size: given[:size])
    seed = b'{"a": [1, 2], "b": "text"}'
    assert all(len(mutate(seed, 30, number)) <= 30 for number in ROUNDS)
