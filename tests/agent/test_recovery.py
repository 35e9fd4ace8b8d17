"""A record that is lost in both copies: what is signed, whole, and served may return."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.errors import TrustError
from edgekit.statement import ReleaseRecord, StagePointer
from edgekit.trust.client import TrustClient
from edgekit_agent.config import Config, parse
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.storage import bundles, testimony
from edgekit_agent.storage.store import Store
from edgekit_agent.update.recovery import recover
from tests.agent.making import Made, lighter, made, stored
from tests.trust.simulator import Simulator

ONE, TWO = made(version="1", scale=2.0), made(version="2", scale=3.0)


@dataclass
class Place:
    """A device's disk, and the fleet that it once talked to."""

    store: Store
    config: Config
    signing: Simulator

    def release(self, what: Made, rollout: int, *, stage: str = "production") -> None:
        entry = what.entry
        version = what.manifest.model.version
        record = ReleaseRecord(
            model="wine",
            version=version,
            run_id="run",
            source_sha256="0" * 64,
            bundles=(entry,),
        )
        pointer = StagePointer(
            model="wine",
            stage=stage,
            version=version,
            rollout=rollout,
            bundles={entry.flavor: entry.sha256},
        )
        self.signing.put("models", f"models/wine/{version}.json", record.to_json())
        self.signing.put(f"stage-{stage}", f"stages/{stage}/wine.json", pointer.to_json())
        self.signing.offer("models", f"stage-{stage}")

    def refreshed(self) -> TrustClient:
        client = TrustClient(
            self.store.tuf, self.config.root, self.signing, datetime.now(UTC), fleet="demo"
        )
        client.refresh()
        return client

    def fetched(self, what: Made, *, stage: str = "production") -> None:
        """Do what an updater does with what the stage points at."""
        client = self.refreshed()
        vouched = client.resolve(stage=stage, model="wine")
        assert vouched is not None
        stored(self.store, what)
        signed = client.evidence(vouched).to_json()
        testimony.keep_signed(self.store.bundle(what.sha256), signed)

    def serves(self, current: Made, rollout: int, previous: Made | None = None) -> None:
        """Do what the supervisor does when a bundle came to serve."""
        before = release_of(previous, rollout - 1) if previous else None
        record = Record(
            model="wine",
            stage="production",
            phase=Phase.SERVING,
            current=release_of(current, rollout),
            previous=before,
        )
        self.store.save(record)

    def updated(self, what: Made, rollout: int, previous: Made | None = None) -> None:
        self.release(what, rollout)
        self.fetched(what)
        self.serves(what, rollout, previous)

    def recovered(self) -> Record | None:
        return recover(self.store, self.config, self.config.models[0])

    def member(self, what: Made, name: str) -> Path:
        return self.store.bundle(what.sha256) / name


def release_of(what: Made, rollout: int) -> Release:
    return Release(
        version=what.manifest.model.version,
        flavor="fp32",
        sha256=what.sha256,
        rollout=rollout,
        since="2026-01-01T00:00:00Z",
    )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    signing = Simulator(now=datetime.now(UTC))
    store = Store(tmp_path / "state")
    store.prepare()
    config = parse(
        f"""
        format = 1
        fleet = "demo"
        device = "pi-7"
        board = "pi"
        state_dir = "{tmp_path}/state"
        runtime_dir = "{tmp_path}"
        root = '''{signing.trusted_root.decode()}'''
        [broker]
        url = "mqtt://localhost:1"
        [limits]
        model_ram_mb = 4096
        model_flash_mb = 100
        [[models]]
        name = "wine"
        stage = "production"
        """,
        subject="agent.toml",
    )
    return Place(store=store, config=config, signing=signing)


def test_what_served_is_found_again_with_what_served_before(place: Place) -> None:
    place.updated(ONE, 1)
    place.updated(TWO, 2, previous=ONE)
    found = place.recovered()
    assert found is not None
    assert found.current == release_of(TWO, 2)
    assert found.previous == release_of(ONE, 1)
    assert found.phase is Phase.SERVING


def test_what_was_fetched_and_never_served_is_not_taken(place: Place) -> None:
    place.updated(ONE, 1)
    place.release(TWO, 2)
    place.fetched(TWO)
    found = place.recovered()
    assert found is not None
    assert found.current == release_of(ONE, 1)
    assert found.previous is None


def test_what_was_undone_does_not_return(place: Place) -> None:
    place.updated(ONE, 1)
    place.updated(TWO, 2, previous=ONE)
    place.serves(ONE, 1)
    found = place.recovered()
    assert found is not None
    assert (found.current, found.previous) == (release_of(ONE, 1), None)


def test_a_pointer_that_moved_on_meanwhile_hinders_nothing(place: Place) -> None:
    place.updated(ONE, 1)
    place.release(TWO, 2)
    place.refreshed()
    found = place.recovered()
    assert found is not None
    assert found.current == release_of(ONE, 1)


def test_signatures_that_expired_do_not_keep_it_from_serving(place: Place) -> None:
    place.updated(ONE, 1)  # nothing here has a clock; the floor tells how stale it is
    assert place.recovered() is not None


# --- what may not return ----------------------------------------------------------------


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
    assert place.recovered() is None


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
    with pytest.raises(TrustError, match="not signed by enough of the keys"):
        place.recovered()


def test_older_metadata_put_back_on_the_disk_is_refused(place: Place) -> None:
    place.updated(ONE, 1)
    path = place.store.tuf / "metadata" / "targets.json"
    old = path.read_bytes()
    place.signing.rotate("models")
    place.refreshed()
    path.write_bytes(old)
    with pytest.raises(TrustError, match="was accepted before"):
        place.recovered()


def test_a_root_that_was_taken_away_is_missed(place: Place) -> None:
    place.updated(ONE, 1)
    place.signing.rotate("targets")
    place.refreshed()
    shutil.rmtree(place.store.tuf / "metadata" / "root_history")
    with pytest.raises(TrustError, match=r"not signed|accepted before"):
        place.recovered()


def test_what_another_stage_vouches_for_is_refused(place: Place) -> None:
    place.release(ONE, 1, stage="staging")
    place.fetched(ONE, stage="staging")
    place.serves(ONE, 1)
    assert place.recovered() is None


def test_another_fleet_s_evidence_is_refused(place: Place) -> None:
    place.updated(ONE, 1)
    shutil.rmtree(place.store.tuf)
    with pytest.raises(TrustError, match="cannot be read"):
        place.recovered()


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


# --- the marks --------------------------------------------------------------------------


def test_marks_follow_the_record(place: Place) -> None:
    place.updated(ONE, 1)
    place.updated(TWO, 2, previous=ONE)
    marks = testimony.marks(place.store.bundles, "wine")
    assert [mark.release.sha256 for mark in marks] == [TWO.sha256, ONE.sha256]
    place.serves(ONE, 3, previous=TWO)
    marks = testimony.marks(place.store.bundles, "wine")
    assert [mark.release.sha256 for mark in marks] == [ONE.sha256, TWO.sha256]
    assert testimony.marks(place.store.bundles, "beer") == []


def test_a_mark_is_written_when_something_else_serves_and_not_before(place: Place) -> None:
    place.updated(ONE, 1)
    path = place.member(ONE, testimony.SERVED)
    before = path.stat().st_ino
    place.serves(ONE, 1)
    assert path.stat().st_ino == before
    place.serves(ONE, 2)
    assert path.stat().st_ino != before


def test_a_mark_under_another_s_name_is_none(place: Place) -> None:
    place.updated(ONE, 1)
    stored(place.store, TWO)
    shutil.copy(place.member(ONE, testimony.SERVED), place.store.bundle(TWO.sha256))
    assert len(testimony.marks(place.store.bundles, "wine")) == 1


def test_a_manifest_is_what_its_release_says() -> None:
    said = ONE.entry.manifest_sha256
    assert said == hashlib.sha256(ONE.manifest.to_json()).hexdigest()
