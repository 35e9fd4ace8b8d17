"""Which of two timestamps is the newer state of a fleet: signatures decide, not numbers."""

import json

from edgekit.trust.succession import succeeds
from tests.trust.simulator import Simulator


def timestamps(simulator: Simulator) -> tuple[bytes, bytes]:
    """An older and a newer one."""
    older = simulator.files["timestamp.json"]
    simulator.release("2", 2)
    return older, simulator.files["timestamp.json"]


def test_a_later_one_by_the_same_keys_succeeds() -> None:
    simulator = Simulator()
    older, newer = timestamps(simulator)
    root = simulator.files["1.root.json"]
    assert succeeds(newer, known=older, root=root)
    assert not succeeds(older, known=newer, root=root)
    assert not succeeds(newer, known=newer, root=root)


def test_a_later_one_by_other_keys_does_not() -> None:
    simulator, stranger = Simulator(), Simulator()
    older, _ = timestamps(simulator)
    _, newer = timestamps(stranger)
    assert not succeeds(newer, known=older, root=simulator.files["1.root.json"])


def test_a_number_that_was_changed_is_not_signed() -> None:
    simulator = Simulator()
    _, newer = timestamps(simulator)
    document = json.loads(newer)
    document["signed"]["version"] += 1
    forged = json.dumps(document).encode()
    assert not succeeds(forged, known=newer, root=simulator.files["1.root.json"])


def test_other_metadata_and_garbage_are_no_successors() -> None:
    simulator = Simulator()
    older, newer = timestamps(simulator)
    root = simulator.files["1.root.json"]
    snapshots = [f for name, f in simulator.files.items() if "snapshot" in name]
    for candidate in (*snapshots, root, b"", b"{}", b"\\xff" * 100, b"[" * 10_000):
        assert not succeeds(candidate, known=older, root=root)
    assert not succeeds(newer, known=b"{}", root=root)
    assert not succeeds(newer, known=older, root=newer)
