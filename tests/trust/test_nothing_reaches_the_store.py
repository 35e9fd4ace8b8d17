"""Each promise once more through the updater itself, over a broker and beside a store.

A hostile publisher puts files on the retained topics; the updater's own code refreshes,
resolves and would fetch. Whatever it makes of that, the store holds version 1 and nothing
else, and the agent's record says so.
"""

import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgekit.bundle import chunk_index
from edgekit.errors import EdgekitError
from edgekit.statement import ReleaseRecord, StagePointer
from edgekit.trust.payload import CryptoSigner
from edgekit.wire import Topics, encode_names
from edgekit_agent import lines
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.storage import bundles, testimony
from edgekit_agent.storage.store import Store
from edgekit_agent.update.updater import Update, update
from tests.agent.making import Made, made, stored
from tests.agent.test_updater import configuration
from tests.fakes import FakeBroker
from tests.trust.device import serves_on
from tests.trust.simulator import Simulator

TOPICS = Topics(fleet="demo")
V1, V2 = made(version="1", scale=2.0), made(version="2", scale=3.0)
DAY = timedelta(days=1)


@dataclass
class Scene:
    """A device that serves version 1 and has seen its metadata; a publisher who lies."""

    folder: Path
    store: Store
    broker: FakeBroker
    signing: Simulator

    def release(self, what: Made, rollout: int) -> None:
        """Sign a bundle as it should be; it is not offered yet."""
        version = what.manifest.model.version
        said = ReleaseRecord(
            model="wine",
            version=version,
            run_id="run",
            source_sha256="0" * 64,
            bundles=(what.entry,),
        )
        self.signing.put("models", f"models/wine/{version}.json", said.to_json())
        self.point(what, rollout)
        self.signing.offer("models", "stage-production")
        index = f"index/{what.entry.index_sha256}"
        self.signing.files[index] = chunk_index(what.data)

    def point(self, what: Made, rollout: int) -> None:
        pointer = StagePointer(
            model="wine",
            stage="production",
            version=what.manifest.model.version,
            rollout=rollout,
            bundles={"fp32": what.sha256},
        )
        path = "stages/production/wine.json"
        self.signing.put("stage-production", path, pointer.to_json())

    def publish(self) -> None:
        """Put every file where devices look for it, as anybody could who is let in."""
        for name, data in self.signing.files.items():
            self.broker.inject(TOPICS.file(name), data, qos=1, retain=True)
        names = encode_names(self.signing.files)
        self.broker.inject(TOPICS.index, names, qos=1, retain=True)

    def update(self) -> list[str]:
        """Run one update as its process does; return what it told the supervisor."""
        config = configuration(self.folder, self.signing.files["1.root.json"])
        transport = self.broker.connect("updater")
        one = Update(
            config,
            config.models[0],
            store=self.store,
            transport=transport,
            progress=lambda _here, _length: None,
        )
        stream, answered = io.BytesIO(), threading.Event()
        answered.set()
        try:
            update(one, self.store, lines.Voice(stream), answered)
        finally:
            transport.close()
        told = stream.getvalue().splitlines()
        return [json.loads(line)["event"] for line in told]

    def kept(self) -> dict[str, bytes]:
        """Everything the state folder holds, but what was rightly signed."""
        return {
            path.relative_to(self.store.tuf.parent).as_posix(): path.read_bytes()
            for path in self.store.tuf.parent.rglob("*")
            if path.is_file() and self.store.tuf not in path.parents
            if path.name != testimony.SIGNED
        }


@pytest.fixture
def scene(short_folder: Path) -> Scene:
    """Version 1 serves; the updater has just found that there is nothing newer."""
    store = Store(short_folder / "state")
    store.prepare()
    stored(store, V1)
    current = Release(version="1", flavor="fp32", sha256=V1.sha256, rollout=1)
    store.save(
        Record(model="wine", stage="production", phase=Phase.SERVING, current=current)
    )
    made_up = Scene(
        folder=short_folder,
        store=store,
        broker=FakeBroker(),
        signing=Simulator(now=datetime.now(UTC)),
    )
    made_up.release(V1, 1)
    made_up.publish()
    assert made_up.update() == ["resolved", "fetched"], "it is here already"
    return made_up


def stolen(scene: Scene, role: str) -> None:
    scene.signing.signers[role] = [CryptoSigner.generate_ed25519()]


def arbitrary_software(scene: Scene) -> None:
    stolen(scene, "models")
    scene.release(V2, 2)


def a_stage_without_models(scene: Scene) -> None:
    scene.point(V2, 2)
    scene.signing.offer("stage-production")


def other_bytes_than_vouched_for(scene: Scene) -> None:
    scene.release(V2, 2)
    scene.point(replace(V2, data=V2.data + b"x"), 3)
    scene.signing.offer("stage-production")


def rollback_of_everything(scene: Scene) -> None:
    old = dict(scene.signing.files)
    scene.release(V1, 2)
    scene.publish()
    scene.update()
    scene.signing.files = old


def rollback_of_a_pointer(scene: Scene) -> None:
    scene.release(V1, 7)
    scene.publish()
    scene.update()
    scene.release(V2, 3)


def freeze(scene: Scene) -> None:
    scene.signing.timestamp.expires = datetime.now(UTC) - DAY
    scene.release(V2, 2)


def mix_and_match(scene: Scene) -> None:
    old = scene.signing.files["2.models.json"]
    scene.release(V2, 2)
    scene.signing.files["3.models.json"] = old


def endless_data(scene: Scene) -> None:
    scene.release(V2, 2)
    scene.signing.files["3.snapshot.json"] += b" " * 120_000


def another_fleet(scene: Scene) -> None:
    scene.signing.timestamp.unrecognized_fields["x-edgekit-fleet"] = "other"
    scene.signing.offer()


def a_revoked_key(scene: Scene) -> None:
    old = scene.signing.signers["stage-production"]
    scene.signing.rotate("stage-production")
    scene.publish()
    scene.update()
    scene.signing.signers["stage-production"] = old
    scene.release(V2, 2)


def below_the_threshold(scene: Scene) -> None:
    scene.signing.rotate("models", count=2, threshold=2)
    scene.signing.signers["models"].pop()
    scene.release(V2, 2)


def garbage(scene: Scene) -> None:
    scene.signing.files["timestamp.json"] = b"[" * 5_000


ATTACKS: dict[Callable[[Scene], None], str] = {
    arbitrary_software: "models was signed by 0/1 keys",
    a_stage_without_models: "the models role has not signed it",
    other_bytes_than_vouched_for: "signed by models but not pointed at",
    rollback_of_everything: "older than version",
    rollback_of_a_pointer: "rollout 3, older than rollout 7",
    freeze: "timestamp.json is expired",
    mix_and_match: "3.models.json: not the bytes that were signed for",
    endless_data: "3.snapshot.json: more than",
    another_fleet: "signed for fleet 'other'",
    a_revoked_key: "stage-production was signed by 0/1 keys",
    below_the_threshold: "models was signed by 1/2 keys",
    garbage: "timestamp.json: damaged",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_leaves_the_store_as_it_was(
    scene: Scene, attack: Callable[[Scene], None]
) -> None:
    before = scene.kept()
    attack(scene)
    scene.publish()
    with pytest.raises(EdgekitError) as caught:
        scene.update()
    assert ATTACKS[attack] in str(caught.value)
    assert scene.kept() == before
    assert bundles.read(scene.store, V1.sha256) == V1.manifest
    assert not scene.store.bundle(V2.sha256).exists()
    assert not any("/want" in message.topic for message in scene.broker.published)
    serves_on(caught.value)
