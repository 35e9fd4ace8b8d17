"""What a hostile broker, or the holder of some of the keys, can make a device run."""

import dataclasses
import json
from pathlib import Path

import pytest

from edgekit.document import canonical_json
from edgekit.errors import StoreError, TransportError, TrustError
from edgekit.trust.client import TrustClient
from edgekit.trust.limits import Limits
from edgekit.trust.payload import (
    CryptoSigner,
    DelegatedRole,
    Delegations,
    Metadata,
    Signature,
    Targets,
)
from tests.core.trust_simulator import (
    DAY,
    NOW,
    Device,
    Files,
    Simulator,
    pointer,
    record,
    refused,
)

TIMESTAMP = "metadata/timestamp.json"
SNAPSHOT = "metadata/snapshot.json"


@pytest.fixture
def operator() -> Simulator:
    """A fleet whose stage production runs version 1."""
    simulator = Simulator()
    simulator.release("1", 1)
    return simulator


@pytest.fixture
def device(tmp_path: Path, operator: Simulator) -> Device:
    """A device that has seen version 1."""
    device = Device(folder=tmp_path, root=operator.trusted_root, source=operator)
    assert device.version() == "1"
    return device


# --- what is meant to work ---------------------------------------------------------


def test_what_both_roles_vouch_for_is_resolved(device: Device) -> None:
    vouched = device.resolve()
    assert vouched is not None
    assert vouched.pointer == pointer("1", 1)
    assert vouched.record == record("1")
    assert vouched.entries == record("1").bundles


def test_only_flavors_that_both_roles_name_are_returned(
    operator: Simulator, device: Device
) -> None:
    operator.put("models", "models/wine/2.json", record("2", "fp32", "int8").to_json())
    said = pointer("2", 2, "int8", "fp16").to_json()
    operator.put("stage-production", "stages/production/wine.json", said)
    operator.offer("models", "stage-production")
    vouched = device.resolve()
    assert vouched is not None
    assert [entry.flavor for entry in vouched.entries] == ["int8"]


def test_a_model_that_was_never_released_in_a_stage_is_none(device: Device) -> None:
    assert device.resolve("staging") is None
    assert device.resolve(model="unheard of") is None


def test_a_lawful_rollback_is_a_new_pointer_to_an_older_version(
    operator: Simulator, device: Device
) -> None:
    operator.release("2", 2)
    assert device.version() == "2"
    operator.release("1", 3)
    assert device.version() == "1"


def test_a_check_without_news_asks_for_two_files_and_the_pointers(
    operator: Simulator, device: Device
) -> None:
    operator.asked.clear()
    device.client().refresh()
    assert operator.asked == ["2.root.json", "timestamp.json"]


def test_unknown_fields_of_a_newer_writer_are_kept_and_verified(
    operator: Simulator, device: Device
) -> None:
    for signed in (operator.root, operator.timestamp, operator.snapshot):
        signed.unrecognized_fields["x-later"] = {"a": [1, "two"]}
    operator.roles["models"].unrecognized_fields["x-later"] = "three"
    operator.root.version = 2
    operator.offer_root()
    later = dataclasses.replace(pointer("2", 2), extra={"share": 10}).to_json()
    operator.put("stage-production", "stages/production/wine.json", later)
    operator.put("models", "models/wine/2.json", record("2").to_json())
    operator.offer("models", "stage-production")
    vouched = device.resolve()
    assert vouched is not None
    assert vouched.pointer.extra == {"share": 10}


def test_names_with_blanks_and_slashes_are_found(tmp_path: Path) -> None:
    operator = Simulator(stages=("my%20stage",))
    said = dataclasses.replace(
        pointer("1/b", 1, stage="my stage", model="a b"), bundles={"fp32": "a" * 64}
    )
    made = record("1/b", model="a b")
    entry = dataclasses.replace(made.bundles[0], sha256="a" * 64)
    made = dataclasses.replace(made, bundles=(entry,))
    operator.put("stage-my%20stage", "stages/my%20stage/a%20b.json", said.to_json())
    operator.put("models", "models/a%20b/1%2Fb.json", made.to_json())
    operator.offer("models", "stage-my%20stage")
    device = Device(folder=tmp_path, root=operator.trusted_root, source=operator)
    vouched = device.resolve("my stage", "a b")
    assert vouched is not None
    assert vouched.record == made


def test_a_stage_that_the_fleet_has_not_is_named(device: Device) -> None:
    reason = "stage-prod: no such role in this fleet, one of models, stage-production"
    with refused(device, reason):
        device.resolve("prod")


# --- keys --------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "models"])
def test_metadata_signed_by_a_wrong_key_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    honest = Files(dict(operator.files))
    operator.signers[role] = [CryptoSigner.generate_ed25519()]
    operator.roles["targets"].unrecognized_fields["x"] = 1
    if role == "targets":
        operator.offer("targets")
    else:
        operator.release("2", 2)
    # An honest timestamp that names a snapshot is accepted before the snapshot is seen.
    reached = {"timestamp": (), "snapshot": (TIMESTAMP,)}.get(
        role, (TIMESTAMP, SNAPSHOT, "metadata/stage-production.json")
    )
    with refused(device, "0/1 keys", may_change=(*reached, "floor.json")):
        device.resolve()
    if role == "timestamp":
        device.source = honest
        assert device.version() == "1"


def test_a_new_root_signed_by_a_wrong_key_is_refused(
    operator: Simulator, device: Device
) -> None:
    stranger = CryptoSigner.generate_ed25519()
    operator.root.version = 2
    operator.signers["root"] = [stranger]
    operator.offer_root()
    with refused(device, r"2\.root\.json: root was signed by 0/1 keys"):
        device.resolve()
    del operator.files["2.root.json"]
    assert device.version() == "1"


@pytest.mark.parametrize("role", ["timestamp", "models", "stage-production"])
def test_metadata_below_its_threshold_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    operator.rotate(role, count=3, threshold=2)
    operator.release("2", 2)
    assert device.version() == "2"
    full = operator.signers[role]
    operator.signers[role] = full[:1]
    operator.release("3", 3)
    with pytest.raises(TrustError, match="1/2 keys"):
        device.resolve()
    operator.signers[role] = full[1:]
    operator.release("4", 4)
    assert device.version() == "4"


def test_one_key_signing_twice_does_not_make_two_people(
    operator: Simulator, device: Device
) -> None:
    operator.rotate("models", count=2, threshold=2)
    assert device.version() == "1"
    first, second = operator.signers["models"]
    operator.roles["models"].version += 1
    metadata = Metadata(operator.roles["models"])
    copied = Signature(second.public_key.keyid, metadata.sign(first).signature)
    metadata.signatures[copied.keyid] = copied
    data = metadata.to_bytes()
    operator.offer_role("models")
    operator.files[f"{operator.roles['models'].version}.models.json"] = data
    operator.snapshot.meta["models.json"].length = None
    operator.offer_snapshot()
    operator.offer_timestamp()
    with refused(device, "1/2 keys", may_change=(TIMESTAMP, SNAPSHOT, "floor.json")):
        device.resolve()


# --- replays -----------------------------------------------------------------------


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


@pytest.mark.parametrize("role", ["models", "stage-production", "snapshot"])
def test_mixing_files_of_two_states_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    older = operator.files[f"2.{role}.json"]
    operator.release("2", 2)
    device.source = Files({**operator.files, f"3.{role}.json": older})
    with pytest.raises(TrustError, match=rf"3\.{role}\.json: .*older"):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


def test_an_older_statement_under_the_name_of_a_newer_one_is_refused(
    operator: Simulator, device: Device
) -> None:
    before = dict(operator.files)
    older = next(d for n, d in before.items() if n.startswith("targets/stages"))
    operator.release("2", 2)
    new = operator.files.keys() - before
    name = next(n for n in new if n.startswith("targets/stages"))
    device.source = Files({**operator.files, name: older})
    with pytest.raises(TrustError, match="not the bytes that were signed for"):
        device.resolve()
    device.source = operator
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


# --- statements --------------------------------------------------------------------


def test_what_models_signed_but_the_stage_does_not_point_at_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.put("models", "models/wine/2.json", record("2").to_json())
    said = dataclasses.replace(pointer("2", 2), bundles={"fp32": "e" * 64})
    operator.put("stage-production", "stages/production/wine.json", said.to_json())
    operator.offer("models", "stage-production")
    with pytest.raises(
        TrustError, match="signed by models but not pointed at by the stage"
    ):
        device.resolve()


def test_what_the_stage_points_at_but_models_did_not_sign_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.point("2", 2)
    operator.offer("stage-production")
    with pytest.raises(TrustError, match="the models role has not signed it"):
        device.resolve()


def test_a_record_alone_changes_nothing(operator: Simulator, device: Device) -> None:
    operator.put("models", "models/wine/2.json", record("2").to_json())
    operator.offer("models")
    assert device.version() == "1"


@pytest.mark.parametrize("thief", ["models", "stage-production", "targets"])
def test_a_pointer_planted_in_another_role_is_refused(
    operator: Simulator, device: Device, thief: str
) -> None:
    operator.put(thief, "stages/staging/wine.json", pointer("2", 2).to_json())
    operator.offer(thief)
    reason = f"stages/staging/wine.json: signed by {thief}, its own role is expected"
    with pytest.raises(TrustError, match=reason):
        device.resolve("production")


def test_a_pointer_planted_elsewhere_is_not_found_in_its_stage(
    operator: Simulator, device: Device
) -> None:
    """A stolen staging key does not reach production, nor stop it."""
    planted = pointer("2", 2).to_json()
    operator.put("stage-staging", "stages/production/wine.json", planted)
    operator.put("models", "models/wine/2.json", record("2").to_json())
    operator.offer("stage-staging", "models")
    assert device.version("production") == "1"


def test_a_role_cannot_pass_its_paths_on(operator: Simulator, device: Device) -> None:
    """The stage's key holder delegates to a key of his own: only the stage's counts."""
    mate = CryptoSigner.generate_ed25519()
    paths = ["stages/production/*"]
    keyid = mate.public_key.keyid
    sub = DelegatedRole("mate", [keyid], 1, terminating=True, paths=paths)
    operator.roles["stage-production"].targets.clear()
    operator.roles["stage-production"].delegations = Delegations(
        {keyid: mate.public_key}, {"mate": sub}
    )
    operator.signers["mate"] = [mate]
    operator.roles["mate"] = Targets(
        expires=NOW + DAY, unrecognized_fields={"x-edgekit-fleet": "demo"}
    )
    operator.put("mate", "stages/production/wine.json", pointer("1", 9).to_json())
    operator.offer("stage-production", "mate")
    assert device.resolve() is None


def test_a_pointer_stored_under_another_name_is_refused(
    operator: Simulator, device: Device
) -> None:
    other = pointer("1", 5, model="beer").to_json()
    operator.put("stage-production", "stages/production/wine.json", other)
    operator.offer("stage-production")
    with pytest.raises(TrustError, match="the pointer speaks of beer"):
        device.resolve()


def test_a_record_stored_under_another_version_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.put("models", "models/wine/2.json", record("1").to_json())
    operator.point("2", 2)
    operator.offer("models", "stage-production")
    with pytest.raises(TrustError, match="wine 2: the release record speaks of wine 1"):
        device.resolve()


@pytest.mark.parametrize("said", [b"", b"{}", b"[]", b"\xff", b'{"format":2}'])
def test_a_signed_statement_that_is_none_is_refused(
    operator: Simulator, device: Device, said: bytes
) -> None:
    operator.put("stage-production", "stages/production/wine.json", said)
    operator.offer("stage-production")
    with pytest.raises(TrustError, match="stage pointer"):
        device.resolve()


def test_a_target_without_a_sha256_is_refused(operator: Simulator, device: Device) -> None:
    target = operator.roles["stage-production"].targets["stages/production/wine.json"]
    target.hashes = {"sha512": "a" * 128}
    operator.offer("stage-production")
    with pytest.raises(TrustError, match="sha256"):
        device.resolve()


# --- another fleet -----------------------------------------------------------------


def test_metadata_of_a_fleet_with_other_keys_is_refused(device: Device) -> None:
    other = Simulator(fleet="other")
    other.release("9", 9)
    device.source = other
    with refused(device, "0/1 keys"):
        device.resolve()


def test_metadata_of_another_fleet_with_the_same_keys_is_refused(
    operator: Simulator, device: Device
) -> None:
    other = Simulator(fleet="other", signers=operator.signers)
    for rollout in range(2, 9):
        other.release("9", rollout)
    device.source = other
    with refused(device, "signed for fleet 'other', fleet 'demo' is expected"):
        device.resolve()
    device.source = operator
    assert device.version() == "1"


@pytest.mark.parametrize("role", ["snapshot", "targets", "models", "stage-production"])
def test_one_role_of_another_fleet_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    signed = operator.snapshot if role == "snapshot" else operator.roles[role]
    signed.unrecognized_fields["x-edgekit-fleet"] = "other"
    operator.offer("targets", "models", "stage-production")
    with pytest.raises(TrustError, match=f"{role}: signed for fleet 'other'"):
        device.resolve()


def test_a_new_root_that_renames_the_fleet_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.root.unrecognized_fields["x-edgekit-fleet"] = "other"
    operator.root.version = 2
    operator.offer_root()
    with refused(device, "root: signed for fleet 'other', fleet 'demo' is expected"):
        device.resolve()


def test_a_root_of_another_fleet_than_provisioned_is_refused(
    tmp_path: Path, operator: Simulator
) -> None:
    with pytest.raises(TrustError, match="of fleet 'demo', 'mine' is expected"):
        TrustClient(tmp_path, operator.trusted_root, operator, NOW, fleet="mine")


def test_a_device_moved_to_another_fleet_starts_anew(device: Device) -> None:
    other = Simulator(fleet="other")
    other.release("9", 9)
    device.root, device.source = other.trusted_root, other
    assert device.version() == "9"


# --- sizes and garbage -------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "3.snapshot.json"])
@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xff\xfe", b"null", b"[1]", b'{"signed":{},"signatures":[]}', b"[" * 8000],
)
def test_garbage_instead_of_metadata_is_refused(
    operator: Simulator, device: Device, name: str, garbage: bytes
) -> None:
    operator.release("2", 2)
    device.source = Files({**operator.files, name: garbage})
    with refused(
        device,
        f"{name}: (damaged|not the bytes|more than)",
        may_change=(TIMESTAMP, "floor.json"),
    ):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


def test_a_timestamp_without_its_time_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.timestamp.version += 1
    operator.timestamp.unrecognized_fields["x-edgekit-issued"] = "yesterday"
    operator.files["timestamp.json"] = operator.signed(
        "timestamp", Metadata(operator.timestamp)
    )
    with refused(device, "x-edgekit-issued: 'yesterday', a time such as"):
        device.resolve()


def test_root_metadata_of_another_type_is_refused(
    operator: Simulator, device: Device
) -> None:
    device.source = Files(
        {**operator.files, "2.root.json": operator.files["timestamp.json"]}
    )
    with refused(device, "Expected 'root', got 'timestamp'"):
        device.resolve()


# --- withholding -------------------------------------------------------------------


class Dead:
    """A source without a network."""

    def file(self, name: str, max_bytes: int) -> bytes | None:
        raise TransportError(f"{name}: no broker in reach, at most {max_bytes} B wanted")


def test_a_dead_transport_is_no_alarm(device: Device) -> None:
    device.source = Dead()
    with refused(device, "no broker in reach", error=TransportError):
        device.resolve()


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.models.json"])
def test_a_withheld_file_is_waited_for(
    operator: Simulator, device: Device, name: str
) -> None:
    operator.release("2", 2)
    device.source = Files({n: d for n, d in operator.files.items() if n != name})
    with pytest.raises(TransportError, match=f"{name}: not offered at present"):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


# --- the device's own disk ---------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"\0" * 500, b"{", None])
def test_any_damaged_file_of_the_folder_heals(
    operator: Simulator, device: Device, damage: bytes | None
) -> None:
    operator.rotate("timestamp")
    assert device.version() == "1"
    names = list(device.kept())
    assert {"floor.json", TIMESTAMP, SNAPSHOT, "metadata/targets.json"} < set(names)
    for name in names:
        path = device.folder / name
        path.unlink() if damage is None else path.write_bytes(damage)
        assert device.version() == "1"
        if name != "metadata/root_history/1.root.json":
            json.loads(path.read_bytes())


def test_a_lost_folder_is_made_anew(operator: Simulator, device: Device) -> None:
    device.folder = device.folder / "fresh" / "card"
    assert device.version() == "1"
    assert operator.files["timestamp.json"] == device.kept()[TIMESTAMP]


def test_a_disk_that_refuses_is_not_an_attack(device: Device, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    device.folder = tmp_path / "file"
    with pytest.raises(StoreError):
        device.client().refresh()


def test_the_floor_is_canonical_json(device: Device) -> None:
    floor = device.kept()["floor.json"]
    assert canonical_json(json.loads(floor)) == floor
