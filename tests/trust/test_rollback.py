"""What was rightly signed once, and has been superseded."""

import pytest

from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import Files, Simulator

TIMESTAMP = "metadata/timestamp.json"


def test_a_lawful_rollback_is_a_new_pointer_to_an_older_version(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 2)
    assert device.version() == "2"
    operator.release("1", 3)
    assert device.version() == "1"


def test_a_replayed_older_timestamp_is_refused(operator: Simulator, device: Device) -> None:
    old = operator.files["timestamp.json"]
    operator.release("2", 2)
    assert device.version() == "2"
    device.source = Files({**operator.files, "timestamp.json": old})
    with refused(
        device,
        r"^timestamp\.json: version 2, older than version 3 accepted before: a replay, or a"
        " depot restored from an old backup$",
    ):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


def test_a_newer_timestamp_that_promises_an_older_snapshot_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 2)
    assert device.version() == "2"
    operator.timestamp.snapshot_meta.version = 2
    operator.offer_timestamp()
    with refused(
        device, r"^timestamp\.json: snapshot version 2, older than version 3 accepted"
    ):
        device.resolve()


@pytest.mark.parametrize("damage", [b"", b"\0" * 400, b'{"signed":'])
def test_a_replayed_timestamp_is_refused_though_the_kept_one_was_lost(
    operator: Simulator, device: Device, damage: bytes
) -> None:
    old = dict(operator.files)
    operator.release("2", 2)
    assert device.version() == "2"
    for kept in (device.folder / "metadata").glob("*.json"):
        if not kept.is_symlink():
            kept.write_bytes(damage)
    device.source = Files(old)
    with refused(device, "timestamp: version 2, older than version 3 accepted before"):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


def test_a_replayed_older_snapshot_is_refused(operator: Simulator, device: Device) -> None:
    old = operator.files["2.snapshot.json"]
    operator.release("2", 2)
    operator.release("3", 3)
    device.source = Files({**operator.files, "4.snapshot.json": old})
    with refused(
        device,
        r"^4\.snapshot\.json: version 2, older than version 4 that the timestamp promises",
        may_change=(TIMESTAMP, "floor.json"),
    ):
        device.resolve()
    device.source = operator
    assert device.version() == "3"


@pytest.mark.parametrize("lost", [(), ("snapshot.json", "stage-production.json")])
def test_a_snapshot_that_takes_a_role_back_is_refused_even_when_rightly_signed(
    operator: Simulator, device: Device, lost: tuple[str, ...]
) -> None:
    """Both online keys are stolen: the stage's older state is put in a new snapshot."""
    operator.release("2", 2)
    assert device.version() == "2"
    operator.snapshot.meta["stage-production.json"].version = 2
    operator.offer_snapshot()
    operator.offer_timestamp()
    for kept in lost:
        (device.folder / "metadata" / kept).write_bytes(b"")
    with refused(
        device,
        "stage-production:? version 2, older than version 3 accepted before",
        may_change=(TIMESTAMP, "floor.json"),
    ):
        device.resolve()


def test_a_replayed_older_stage_role_is_refused(
    operator: Simulator, device: Device
) -> None:
    old = operator.files["2.stage-production.json"]
    operator.release("2", 2)
    device.source = Files({**operator.files, "3.stage-production.json": old})
    client = device.client()
    client.refresh()
    with refused(
        device,
        r"^3\.stage-production\.json: version 2, older than version 3 that the snapshot",
    ):
        client.resolve(stage="production", model="wine")
    device.source = operator
    assert device.version() == "2"


def test_a_replayed_older_pointer_is_refused_even_when_signed_anew(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 7)
    assert device.version() == "2"
    operator.release("1", 6)
    moved = ("timestamp", "snapshot", "models", "stage-production")
    with refused(
        device,
        "rollout 6, older than rollout 7 accepted before",
        may_change=("floor.json", *(f"metadata/{role}.json" for role in moved)),
    ):
        device.resolve()
    operator.release("2", 8)
    assert device.version() == "2"


def test_an_older_root_cannot_replace_a_newer_one(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("timestamp")
    assert device.version() == "1"
    (device.folder / "metadata/root_history/2.root.json").write_bytes(b"")
    without = {n: d for n, d in operator.files.items() if n != "2.root.json"}
    device.source = Files(without)
    with refused(device, "root: version 1, older than version 2 accepted before"):
        device.resolve()
    device.source = operator
    assert device.version() == "1"


@pytest.mark.parametrize("back", [1, 2, 5])
def test_a_whole_older_state_is_refused_however_consistent_it_is(
    operator: Simulator, device: Device, back: int
) -> None:
    states = []
    for number in range(2, 9):
        operator.release(str(number), number)
        states.append(dict(operator.files))
    assert device.version() == "8"
    device.source = Files(states[-1 - back])
    with refused(device, r"timestamp\.json: version \d, older than version 9 accepted"):
        device.resolve()
    device.source = operator
    assert device.version() == "8"


@pytest.mark.parametrize("role", ["targets", "models", "stage-production"])
def test_each_delegating_and_delegated_role_is_never_taken_back(
    operator: Simulator, device: Device, role: str
) -> None:
    """With the keys of snapshot and timestamp in hand."""
    operator.release("2", 2)
    operator.offer("targets")
    assert device.version() == "2"
    operator.snapshot.meta[f"{role}.json"].version -= 1
    operator.snapshot.meta[f"{role}.json"].length = None
    operator.offer_snapshot()
    operator.offer_timestamp()
    with refused(device, f"{role}.* older than version", may_change=ANYTHING_SIGNED):
        device.resolve()


@pytest.mark.parametrize("role", ["targets", "models", "stage-production"])
def test_a_role_that_the_snapshot_no_longer_lists_is_missed(
    operator: Simulator, device: Device, role: str
) -> None:
    operator.release("2", 2)
    assert device.version() == "2"
    del operator.snapshot.meta[f"{role}.json"]
    operator.offer_snapshot()
    operator.offer_timestamp()
    with refused(device, role, may_change=ANYTHING_SIGNED):
        device.resolve()


def test_another_timestamp_of_the_same_version_changes_nothing(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 2)
    assert device.version() == "2"
    before = device.kept()
    operator.release("3", 3)
    operator.timestamp.version = 2  # offer_timestamp() counts it up to the known 3
    operator.offer_timestamp()
    assert device.version() == "2"
    assert device.kept() == before


def test_a_pointer_that_was_never_taken_back_is_not_dropped_silently(
    operator: Simulator, device: Device
) -> None:
    """A stage without its pointer offers nothing: the device goes on with what it has."""
    operator.roles["stage-production"].targets.clear()
    operator.offer("stage-production")
    assert device.resolve() is None
    operator.release("2", 1)  # the rollout number must still be above the last one seen
    assert device.version() == "2"
    operator.release("3", 9)
    assert device.version() == "3"
