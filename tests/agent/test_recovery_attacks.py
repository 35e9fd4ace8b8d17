"""A lost record: what is damaged, forged or signed by keys of yesterday stays out."""

import copy
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.statement import ReleaseRecord
from edgekit.trust.evidence import Evidence
from edgekit_agent.storage import bundles, testimony
from tests.agent.losing import ONE, TWO, Place, place_in, release_of, replaced
from tests.agent.making import lighter, made, stored


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A device that has heard nothing yet, and its fleet."""
    return place_in(tmp_path)


def forge(place: Place, scale: float) -> None:
    """Put another model into a bundle, with a manifest and a seal that fit it."""
    other = made(version="1", scale=scale)
    folder = place.store.bundle(ONE.sha256)
    kept = {n: (folder / n).read_bytes() for n in (testimony.SIGNED, testimony.SERVED)}
    shutil.rmtree(folder)
    stored(place.store, other)
    place.store.bundle(other.sha256).rename(folder)
    for name, data in kept.items():
        (folder / name).write_bytes(data)


def test_a_forged_bundle_that_fits_itself_is_refused(place: Place) -> None:
    place.updated(ONE, 1)
    forge(place, scale=9.0)
    assert bundles.holds(place.store, ONE.sha256), "its own seal is no proof"
    assert place.recovered() is None


def test_a_forged_bundle_under_its_own_digest_is_refused(place: Place) -> None:
    place.updated(ONE, 1)
    other = made(version="1", scale=9.0)
    stored(place.store, other)
    signed = testimony.signed(place.store.bundle(ONE.sha256))
    testimony.keep_signed(place.store.bundle(other.sha256), signed)
    place.serves(other, 1)
    assert place.recovered() is None


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "golden.json"])
def test_a_bit_that_flipped_is_refused(place: Place, name: str) -> None:
    place.updated(ONE, 1)
    path = place.member(ONE, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert place.recovered() is None


@pytest.mark.parametrize("name", [testimony.SIGNED, testimony.SERVED])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: data[: len(data) // 2],
        lambda data: b"\0" * len(data),
        lambda data: data.replace(b'":"', '":"\N{SNOWMAN}'.encode()),
    ],
)
def test_damaged_testimony_proves_nothing(
    place: Place, name: str, damage: Callable[[bytes], bytes]
) -> None:
    place.updated(ONE, 1)
    path = place.member(ONE, name)
    path.write_bytes(damage(path.read_bytes()))
    assert place.recovered() is None


@pytest.mark.parametrize("role", ["models", "stage-production"])
def test_what_a_key_signed_that_is_revoked_now_is_refused(place: Place, role: str) -> None:
    place.updated(ONE, 1)
    place.signing.rotate(role)
    place.refreshed()
    assert "one that was replaced counts for nothing" in place.told()


def test_keys_of_the_targets_role_that_are_revoked_now_count_for_nothing(
    place: Place,
) -> None:
    place.updated(ONE, 1)
    place.signing.rotate("targets")
    place.refreshed()
    assert place.recovered() is not None, "its own signatures are as good as before"
    old = (place.store.tuf / "metadata" / "targets.json").read_bytes()
    place.signing.rotate("targets")
    place.refreshed()
    (place.store.tuf / "metadata" / "targets.json").write_bytes(old)
    assert "not signed by enough of the keys" in place.told()


def test_older_metadata_put_back_on_the_disk_is_refused(place: Place) -> None:
    place.updated(ONE, 1)
    path = place.store.tuf / "metadata" / "targets.json"
    old = path.read_bytes()
    place.signing.rotate("models")
    place.refreshed()
    path.write_bytes(old)
    assert "was accepted before" in place.told()


def test_a_root_that_was_taken_away_is_missed(place: Place) -> None:
    place.updated(ONE, 1)
    place.signing.rotate("targets")
    place.refreshed()
    shutil.rmtree(place.store.tuf / "metadata" / "root_history")
    assert re.search("not signed|accepted before", place.told())


def test_what_another_stage_vouches_for_is_refused(place: Place) -> None:
    place.release(ONE, 1, stage="staging")
    place.fetched(ONE, stage="staging")
    place.serves(ONE, 1)
    assert place.recovered() is None


def test_another_fleet_s_evidence_is_refused(place: Place) -> None:
    place.updated(ONE, 1)
    shutil.rmtree(place.store.tuf)
    assert "cannot be read" in place.told()


def test_a_release_that_tells_no_manifest_s_digest_proves_nothing(place: Place) -> None:
    place.updated(ONE, 1)
    path = place.member(ONE, testimony.SIGNED)
    signing = place.signing
    record = ReleaseRecord(
        model="wine",
        version="1",
        run_id="run",
        source_sha256="0" * 64,
        bundles=(lighter(ONE.entry, manifest_sha256=""),),
    )
    assert b"manifest_sha256" not in record.to_json()
    signing.put("models", "models/wine/1.json", record.to_json())
    signing.offer("models", "stage-production")
    client = place.refreshed()
    vouched = client.resolve(stage="production", model="wine")
    assert vouched is not None
    path.write_bytes(client.evidence(vouched).to_json())
    assert place.recovered() is None


def test_a_statement_that_was_exchanged_is_refused(place: Place) -> None:
    place.updated(ONE, 1)
    path = place.member(ONE, testimony.SIGNED)
    document = json.loads(path.read_bytes())
    place.updated(TWO, 2, previous=ONE)
    other = json.loads(place.member(TWO, testimony.SIGNED).read_bytes())
    path.write_text(json.dumps({**document, "pointer": other["pointer"]}))
    found = place.recovered()
    assert found is not None
    assert (found.current, found.previous) == (release_of(TWO, 2), None)


def test_what_thieves_sign_with_keys_of_yesterday_is_refused(place: Place) -> None:
    """Both keys stolen, the disk writable: nobody can tell when they signed."""
    place.updated(ONE, 1)
    stolen = {role: place.signing.signers[role] for role in ("models", "stage-production")}
    replaced(place, *stolen)
    honest = {role: place.signing.signers[role] for role in stolen}
    files, roles = dict(place.signing.files), copy.deepcopy(place.signing.roles)
    place.signing.signers.update(stolen)
    place.release(TWO, 9)
    forged = {
        "models": f"{place.signing.roles['models'].version}.models.json",
        "stage-production": f"{place.signing.roles['stage-production'].version}"
        ".stage-production.json",
    }
    evil = {role: place.signing.files[name] for role, name in forged.items()}
    statements = [data for name, data in place.signing.files.items() if name not in files]
    place.signing.signers.update(honest)
    place.signing.files, place.signing.roles = files, roles
    (pointer,) = (data for data in statements if b'"rollout":9' in data)
    (record,) = (data for data in statements if b'"source_sha256"' in data)
    stored(place.store, TWO)
    signed = Evidence(
        models=evil["models"],
        stage=evil["stage-production"],
        pointer=pointer,
        record=record,
    )
    testimony.keep_signed(place.store.bundle(TWO.sha256), signed.to_json())
    place.serves(TWO, 9)
    assert "not signed by enough of the keys trusted now" in place.told()
    for role, data in evil.items():  # nor when it lies where the newest metadata lies
        (place.store.tuf / "metadata" / f"{role}.json").write_bytes(data)
    assert "not signed by enough of the keys trusted now" in place.told()


@pytest.mark.parametrize(
    "exchange", [("stage-production", "models"), ("models", "stage-production")]
)
def test_the_newest_metadata_of_another_role_vouches_for_nothing(
    place: Place, exchange: tuple[str, str]
) -> None:
    place.updated(ONE, 1)
    replaced(place, "models", "stage-production")
    metadata = place.store.tuf / "metadata"
    source, target = (metadata / f"{role}.json" for role in exchange)
    shutil.copy(source, target)
    assert "not signed by enough of the keys" in place.told()


def test_a_statement_that_the_newest_metadata_does_not_make_is_refused(
    place: Place,
) -> None:
    place.updated(ONE, 1)
    replaced(place, "models")
    path = place.member(ONE, testimony.SIGNED)
    evidence = Evidence.from_json(path.read_bytes())
    altered = evidence.record.replace(b'"run"', b'"ran"')
    assert altered != evidence.record
    path.write_bytes(dataclasses.replace(evidence, record=altered).to_json())
    assert place.told()
