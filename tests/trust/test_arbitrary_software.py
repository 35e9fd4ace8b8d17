"""Software that nobody released: wrong keys, and statements in the wrong place."""

import dataclasses

import pytest

from edgekit.errors import TrustError
from edgekit.trust.payload import (
    CryptoSigner,
    DelegatedRole,
    Delegations,
    Targets,
)
from tests.trust.simulator import (
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
