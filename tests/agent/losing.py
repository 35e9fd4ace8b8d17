"""A device whose record is lost, and the fleet that it once talked to."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgekit.statement import ReleaseRecord, StagePointer
from edgekit.trust.client import TrustClient
from edgekit_agent.config import Config, load
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.storage import testimony
from edgekit_agent.storage.store import Store
from edgekit_agent.update.recovery import recover
from tests.agent.making import Made, made, stored
from tests.trust.simulator import Simulator

AT = "2026-06-01T00:00:00Z"
ONE, TWO = made(version="1", scale=2.0), made(version="2", scale=3.0)


@dataclass
class Place:
    """A device's disk, and the fleet that it once talked to."""

    store: Store
    file: Path
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
        found = self._recovered()
        return found if found.current is not None else None

    def told(self) -> str:
        """Why nothing is found, as it is reported."""
        found = self._recovered()
        assert found.current is None
        assert found.trouble is not None
        assert found.trouble.reason.endswith("until a broker has told what is to run")
        return found.trouble.reason

    def resolved(self) -> None:
        """Do what an updater does of any other model, or one that is killed early."""
        assert self.refreshed().resolve(stage="production", model="wine") is not None

    def _recovered(self) -> Record:
        return recover(self.store, self.config, self.config.models[0], AT)

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


def place_in(tmp_path: Path) -> Place:
    """Return a device that has heard nothing yet, and its fleet."""
    signing = Simulator(now=datetime.now(UTC))
    store = Store(tmp_path / "state")
    store.prepare()
    file = tmp_path / "agent.toml"
    file.write_text(
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
        """
    )
    return Place(store=store, file=file, config=load(file), signing=signing)


def replaced(place: Place, *roles: str) -> None:
    """Replace keys; the device hears of it, and keeps no new evidence yet."""
    for role in roles:
        place.signing.rotate(role)
    place.resolved()
