"""Software that nobody released: wrong keys, and statements in the wrong place."""

import dataclasses
import json

import pytest

from edgekit.trust.payload import (
    CryptoSigner,
    DelegatedRole,
    Delegations,
    Targets,
)
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import DAY, NOW, Files, Simulator, pointer, record

TIMESTAMP = "metadata/timestamp.json"
SNAPSHOT = "metadata/snapshot.json"


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


def test_what_models_signed_but_the_stage_does_not_point_at_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.put("models", "models/wine/2.json", record("2").to_json())
    said = dataclasses.replace(pointer("2", 2), bundles={"fp32": "e" * 64})
    operator.put("stage-production", "stages/production/wine.json", said.to_json())
    operator.offer("models", "stage-production")
    reason = "signed by models but not pointed at by the stage"
    with refused(device, reason, may_change=ANYTHING_SIGNED):
        device.resolve()


def test_what_the_stage_points_at_but_models_did_not_sign_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.point("2", 2)
    operator.offer("stage-production")
    with refused(device, "the models role has not signed it", may_change=ANYTHING_SIGNED):
        device.resolve()


@pytest.mark.parametrize("thief", ["models", "stage-production", "targets"])
def test_a_pointer_planted_in_another_role_is_refused(
    operator: Simulator, device: Device, thief: str
) -> None:
    operator.put(thief, "stages/staging/wine.json", pointer("2", 2).to_json())
    operator.offer(thief)
    reason = f"stages/staging/wine.json: signed by {thief}, its own role is expected"
    with refused(device, reason, may_change=ANYTHING_SIGNED):
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
    with refused(device, "the pointer speaks of beer", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_record_stored_under_another_version_is_refused(
    operator: Simulator, device: Device
) -> None:
    operator.put("models", "models/wine/2.json", record("1").to_json())
    operator.point("2", 2)
    operator.offer("models", "stage-production")
    reason = "wine 2: the release record speaks of wine 1"
    with refused(device, reason, may_change=ANYTHING_SIGNED):
        device.resolve()


@pytest.mark.parametrize("said", [b"", b"{}", b"[]", b"\xff", b'{"format":2}'])
def test_a_signed_statement_that_is_none_is_refused(
    operator: Simulator, device: Device, said: bytes
) -> None:
    operator.put("stage-production", "stages/production/wine.json", said)
    operator.offer("stage-production")
    with refused(device, "stage pointer", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_target_without_a_sha256_is_refused(operator: Simulator, device: Device) -> None:
    target = operator.roles["stage-production"].targets["stages/production/wine.json"]
    target.hashes = {"sha512": "a" * 128}
    operator.offer("stage-production")
    with refused(device, "sha256", may_change=ANYTHING_SIGNED):
        device.resolve()


ROLES = ["timestamp", "snapshot", "targets", "models", "stage-production"]


def offered(operator: Simulator, role: str) -> str:
    """Offer version 2 so that only signatures bind a role; return its file's name."""
    operator.release("2", 2)
    operator.offer("targets")
    operator.list_without_lengths(role)
    versions = {name: signed.version for name, signed in operator.roles.items()}
    versions["snapshot"] = operator.snapshot.version
    return "timestamp.json" if role == "timestamp" else f"{versions[role]}.{role}.json"


@pytest.mark.parametrize("role", ROLES)
def test_metadata_without_any_signature_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    name = offered(operator, role)
    document = json.loads(operator.files[name])
    document["signatures"] = []
    operator.files[name] = json.dumps(document).encode()
    with refused(device, f"{role} was signed by 0/1 keys", may_change=ANYTHING_SIGNED):
        device.resolve()


@pytest.mark.parametrize("role", ROLES)
def test_metadata_altered_after_it_was_signed_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    name = offered(operator, role)
    document = json.loads(operator.files[name])
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"
    operator.files[name] = json.dumps(document).encode()
    with refused(device, f"{role} was signed by 0/1 keys", may_change=ANYTHING_SIGNED):
        device.resolve()


@pytest.mark.parametrize("role", ROLES)
def test_a_signature_of_another_roles_key_is_none(
    operator: Simulator, device: Device, role: str
) -> None:
    """The key of staging is somebody's; it signs for staging and for nothing else."""
    honest = operator.signers[role]
    operator.signers[role] = operator.signers["stage-staging"]
    offered(operator, role)
    with refused(device, "was signed by 0/1 keys", may_change=ANYTHING_SIGNED):
        device.resolve()
    operator.signers[role] = honest
    operator.offer("targets", "models", "stage-production")
    assert device.version() == "2"


@pytest.mark.parametrize("role", ["models", "stage-production"])
def test_one_roles_metadata_under_the_name_of_another_are_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    name = offered(operator, role)
    staging = next(d for n, d in operator.files.items() if n.endswith("stage-staging.json"))
    operator.files[name] = staging
    with refused(device, "0/1 keys", may_change=ANYTHING_SIGNED):
        device.resolve()
