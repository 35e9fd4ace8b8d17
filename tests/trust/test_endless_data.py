"""More bytes, files or versions than anybody needs."""

import dataclasses

import pytest

from edgekit.errors import TrustError
from edgekit.trust.limits import Limits
from tests.trust.simulator import (
    Device,
    Files,
    Simulator,
    pointer,
)


class Endless:
    """A source that never ends a file; it counts what was taken."""

    def __init__(self, honest: Files, name: str) -> None:
        self.honest, self.name, self.taken = honest, name, 0

    def file(self, name: str, max_bytes: int) -> bytes | None:
        if name != self.name:
            return self.honest.file(name, max_bytes)
        self.taken += max_bytes + 1
        return b"\0" * (max_bytes + 1)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("2.root.json", Limits().root_bytes),
        ("timestamp.json", Limits().timestamp_bytes),
        ("3.snapshot.json", 2_000),
        ("3.models.json", 2_000),
        ("3.stage-production.json", 2_000),
    ],
)
def test_an_endless_file_is_refused_after_a_bounded_length(
    operator: Simulator, device: Device, name: str, limit: int
) -> None:
    operator.release("2", 2)
    endless = Endless(operator, name)
    device.source = endless
    with pytest.raises(TrustError, match=f"{name}: more than"):
        device.resolve()
    assert endless.taken <= limit + 1
    device.source = operator
    assert device.version() == "2"


def test_an_endless_statement_is_refused(operator: Simulator, device: Device) -> None:
    before = set(operator.files)
    operator.release("2", 2)
    new = set(operator.files) - before
    name = next(n for n in new if n.startswith("targets/stages"))
    device.source = Endless(operator, name)
    with pytest.raises(TrustError, match="more than"):
        device.resolve()


def test_a_statement_signed_for_more_than_the_limit_is_not_fetched(
    operator: Simulator, device: Device
) -> None:
    big = dataclasses.replace(pointer("1", 2), extra={"pad": "x" * 70_000}).to_json()
    operator.put("stage-production", "stages/production/wine.json", big)
    operator.offer("stage-production")
    operator.asked.clear()
    with pytest.raises(TrustError, match="at most 65536 are expected"):
        device.resolve()
    assert not [name for name in operator.asked if name.startswith("targets/")]


def test_an_endless_chain_of_roots_ends(operator: Simulator, device: Device) -> None:
    for version in range(2, 12):
        operator.root.version = version
        operator.offer_root()
    device.limits = Limits(root_rotations=5)
    operator.asked.clear()
    device.client().refresh()
    assert sum(name.endswith("root.json") for name in operator.asked) == 5
    device.client().refresh()
    device.client().refresh()
    assert "11.root.json" in operator.asked
