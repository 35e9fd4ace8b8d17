"""More bytes, files or versions than anybody needs."""

import dataclasses
import json

import pytest

from edgekit.trust.limits import Limits
from edgekit.trust.payload import SSlibKey
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import Files, Simulator, pointer, record


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
    with refused(device, f"{name}: more than", may_change=ANYTHING_SIGNED):
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
    with refused(device, "more than", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_statement_signed_for_more_than_the_limit_is_not_fetched(
    operator: Simulator, device: Device
) -> None:
    big = dataclasses.replace(pointer("1", 2), extra={"pad": "x" * 70_000}).to_json()
    operator.put("stage-production", "stages/production/wine.json", big)
    operator.offer("stage-production")
    operator.asked.clear()
    with refused(device, "at most 65536 are expected", may_change=ANYTHING_SIGNED):
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


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("length", 0, "length: a whole number from 1"),
        ("length", -1, "length: a whole number from 1"),
        ("length", 2**50, "chunks, at most 4064 are expected"),
        ("chunk_bytes", 0, "chunk_bytes: a whole number from 1"),
        ("chunk_bytes", 10**9, "chunk_bytes: a whole number from 1"),
        ("chunk_bytes", 1, "70000 chunks, at most 4064 are expected"),
    ],
)
def test_a_bundle_of_an_impossible_number_of_chunks_is_refused(
    operator: Simulator, device: Device, name: str, value: int, reason: str
) -> None:
    """Signed by a stolen models key: nobody makes room for a chunk index of gigabytes."""
    said = json.loads(record("2").to_json())
    said["bundles"][0][name] = value
    operator.put("models", "models/wine/2.json", json.dumps(said).encode())
    operator.point("2", 2)
    operator.offer("models", "stage-production")
    with refused(device, reason, may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_statement_as_deep_as_it_is_long_is_refused(
    operator: Simulator, device: Device
) -> None:
    deep = b'{"format":1,"x":' + b"[" * 60_000
    operator.put("stage-production", "stages/production/wine.json", deep)
    operator.offer("stage-production")
    with refused(device, "stage pointer: ", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_root_that_names_thousands_of_keys_stays_within_its_length(
    operator: Simulator, device: Device
) -> None:
    """Each key costs a device a parsing: the file's length bounds them."""
    for number in range(1000):
        keyid = f"{number:064x}"
        operator.root.keys[keyid] = SSlibKey(
            keyid, "ed25519", "ed25519", {"public": "0" * 64}
        )
    operator.root.version = 2
    operator.offer_root()
    with refused(device, r"2\.root\.json: more than 65536 bytes"):
        device.resolve()
