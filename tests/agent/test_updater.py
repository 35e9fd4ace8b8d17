"""One update in this process: real metadata and a real depot over a broker in memory."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.bundle import chunk_index
from edgekit.depot.server import Depot, DepotOptions
from edgekit.errors import AdmissionError, StoreError, TransportError, TrustError
from edgekit.statement import BundleEntry, ReleaseRecord, StagePointer
from edgekit.trust.vouched import Vouched
from edgekit.wire import Topics
from edgekit_agent.config import Config, parse
from edgekit_agent.rules.record import Attempt, Phase, Record, Refusal, Release
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from edgekit_agent.subscription import Subscription
from edgekit_agent.update import updater
from edgekit_agent.update.fetch import fetch_bundle
from edgekit_agent.update.need import RUNTIME_BYTES
from edgekit_agent.update.room import measured
from edgekit_agent.update.standstill import Patience
from edgekit_agent.update.updater import UnfitBundleError, Update
from tests.agent.making import Made, made, stored
from tests.fakes import FakeBroker
from tests.trust.simulator import Simulator

TOPICS = Topics(fleet="demo")
V1 = made(padding_bytes=200_000)


class Operator:
    """Signs, stores and serves; may be told to lie."""

    def __init__(self, folder: Path, broker: FakeBroker) -> None:
        self.folder = folder
        self.signing = Simulator(now=datetime.now(UTC))
        for name in ("files/index", "blobs"):
            (folder / name).mkdir(parents=True)
        self._stop = threading.Event()
        depot = Depot(broker.connect("depot"), TOPICS, folder, DepotOptions(poll_s=0.05))
        self._thread = threading.Thread(target=depot.serve, args=(self._stop,))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def release(
        self, *bundles_made: Made, entries: tuple[BundleEntry, ...] = (), rollout: int = 1
    ) -> None:
        entries = entries or tuple(what.entry for what in bundles_made)
        for what in bundles_made:
            (self.folder / "blobs" / what.sha256).write_bytes(what.data)
            index = self.folder / "files" / "index" / what.entry.index_sha256
            index.write_bytes(chunk_index(what.data))
        record = ReleaseRecord(
            model="wine",
            version="1",
            run_id="run",
            source_sha256="0" * 64,
            bundles=entries,
        )
        pointer = StagePointer(
            model="wine",
            stage="production",
            version="1",
            rollout=rollout,
            bundles={entry.flavor: entry.sha256 for entry in entries},
        )
        signing = self.signing
        signing.put("models", "models/wine/1.json", record.to_json())
        signing.put("stage-production", "stages/production/wine.json", pointer.to_json())
        signing.offer("models", "stage-production")
        self.offer()

    def offer(self) -> None:
        files = self.signing.files
        for name in sorted(files, key=lambda name: name == "timestamp.json"):
            path = self.folder / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def operator(folder: Path, broker: FakeBroker) -> Iterator[Operator]:
    found = Operator(folder / "repository", broker)
    yield found
    found.stop()


def configuration(folder: Path, root: bytes) -> Config:
    return parse(
        f"""
        format = 1
        fleet = "demo"
        device = "pi-7"
        board = "pi"
        state_dir = "{folder}/state"
        runtime_dir = "{folder}"
        root = '''{root.decode()}'''
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


@pytest.fixture
def one(folder: Path, store: Store, broker: FakeBroker, operator: Operator) -> Update:
    config = configuration(folder, operator.signing.trusted_root)
    return Update(
        config,
        config.models[0],
        store=store,
        transport=broker.connect("updater"),
        progress=lambda _here, _length: None,
    )


def resolved(one: Update) -> Vouched:
    vouched = one.resolve()
    assert vouched is not None
    return vouched


def test_a_release_is_resolved_chosen_fetched_and_stored(
    one: Update, operator: Operator, store: Store
) -> None:
    operator.release(V1)
    vouched = resolved(one)
    entry = one.choose(vouched)
    one.fetch(vouched, entry)
    assert bundles.read(store, V1.sha256) == V1.manifest
    assert list(store.incoming.iterdir()) == [], "what is unpacked takes no flash twice"


def test_a_stage_without_a_release_is_nothing(one: Update, operator: Operator) -> None:
    operator.offer()
    assert one.resolve() is None


def test_without_a_depot_it_is_known_that_nothing_is_known(
    one: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one._files, "_timeout_s", 0.2)  # noqa: SLF001 - not to wait
    with pytest.raises(TransportError, match="is a depot"):
        one.resolve()


def test_an_index_that_is_not_offered_yet_is_waited_for(
    one: Update, operator: Operator
) -> None:
    odd = replace(V1.entry, index_sha256="0" * 64)
    operator.release(V1, entries=(odd,))
    vouched = resolved(one)
    with pytest.raises(TransportError, match="does not offer it yet"):
        one.fetch(vouched, odd)


def test_an_altered_index_is_refused_but_not_for_ever(
    one: Update, operator: Operator, store: Store
) -> None:
    index = operator.folder / "files" / "index" / V1.entry.index_sha256
    (operator.folder / "blobs" / V1.sha256).write_bytes(V1.data)
    index.write_bytes(bytes(32) * V1.entry.chunks)
    operator.release(entries=(V1.entry,))
    vouched = resolved(one)
    with pytest.raises(TrustError, match="its digest is another one") as caught:
        one.fetch(vouched, V1.entry)
    assert not isinstance(caught.value, UnfitBundleError)
    assert not bundles.holds(store, V1.sha256)


def test_a_manifest_that_names_another_version_is_refused_for_good(
    one: Update, operator: Operator, store: Store
) -> None:
    other = made(version="7")
    operator.release(other)
    vouched = resolved(one)
    with pytest.raises(UnfitBundleError, match="manifest says wine 7 fp32, wine 1 fp32"):
        one.fetch(vouched, other.entry)
    assert not store.bundle(other.sha256).exists()


def test_signed_garbage_is_refused_for_good(
    one: Update, operator: Operator, store: Store
) -> None:
    cut = Made(manifest=V1.manifest, data=V1.data[:-100])
    operator.release(cut)
    vouched = resolved(one)
    with pytest.raises(UnfitBundleError):
        one.fetch(vouched, cut.entry)
    assert not store.bundle(cut.sha256).exists()


def test_a_file_the_disk_spoils_before_it_is_unpacked_is_fetched_again(
    one: Update, operator: Operator, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.release(V1)
    vouched = resolved(one)
    fetch = fetch_bundle

    def spoiled(*arguments: object, **options: object) -> Path:
        path: Path = fetch(*arguments, **options)  # type: ignore[arg-type]  # passed on
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        return path

    monkeypatch.setattr(updater, "fetch_bundle", spoiled)
    with pytest.raises(StoreError, match="changed on the disk"):
        one.fetch(vouched, V1.entry)
    monkeypatch.setattr(updater, "fetch_bundle", fetch)
    one.fetch(vouched, V1.entry)
    assert bundles.holds(store, V1.sha256)


def test_a_silent_depot_ends_the_fetch_for_now_and_nothing_is_lost(
    one: Update, operator: Operator
) -> None:
    operator.release(V1)
    vouched = resolved(one)
    (operator.folder / "blobs" / V1.sha256).unlink()
    with pytest.raises(TransportError, match=r"no genuine chunk for 0\.5 s"):
        one.fetch(vouched, V1.entry, Patience(silent_s=0.5))


def test_what_does_not_fit_is_refused_before_a_byte_is_fetched(
    one: Update, operator: Operator, broker: FakeBroker
) -> None:
    huge = replace(V1.entry, peak_rss_bytes=5000 * 2**20)
    operator.release(V1, entries=(huge,))
    vouched = resolved(one)
    with pytest.raises(AdmissionError, match=r"RAM: it takes 5000\.0 MB, 4096\.0 MB"):
        one.choose(vouched)
    assert not any("/blob/" in m.topic for m in broker.published)


@pytest.mark.parametrize("how", ["current", "attempt"])
def test_a_choice_once_made_is_kept_while_the_pointer_stands(
    one: Update, operator: Operator, store: Store, how: str
) -> None:
    small = replace(V1.entry, flavor="int8", sha256="b" * 64, peak_rss_bytes=1)
    operator.release(V1, entries=(V1.entry, small))
    vouched = resolved(one)
    assert one.choose(vouched).flavor == "int8", "the smallest, as memory is short"
    current = Release(version="1", flavor="fp32", sha256=V1.sha256, rollout=1)
    store.save(
        Record(model="wine", stage="production", phase=Phase.SERVING, current=current)
        if how == "current"
        else Record(
            model="wine",
            stage="production",
            attempt=Attempt(rollout=1, sha256=V1.sha256),
        )
    )
    assert one.choose(vouched).flavor == "fp32"


def test_a_flavor_found_wrong_here_is_not_chosen_again_and_stands_where_no_other_fits(
    one: Update, operator: Operator, store: Store
) -> None:
    small = replace(V1.entry, flavor="int8", sha256="b" * 64, peak_rss_bytes=1)
    operator.release(V1, entries=(V1.entry, small))
    vouched = resolved(one)
    wrong = [
        Refusal(rollout=1, flavor="int8", sha256=small.sha256, reason="NaN"),
        Refusal(rollout=1, flavor="fp32", sha256=V1.sha256, reason="slow"),
    ]
    tried = Attempt(rollout=1, sha256=small.sha256)
    record = Record(model="wine", stage="production", attempt=tried, refused=(wrong[0],))
    store.save(record)
    assert one.choose(vouched).flavor == "fp32"
    tried = replace(tried, sha256=V1.sha256)
    store.save(replace(record, attempt=tried, refused=tuple(wrong)))
    assert one.choose(vouched).flavor == "fp32", "its verdict is told"


def test_what_other_models_take_is_counted(
    folder: Path, store: Store, operator: Operator
) -> None:
    text = configuration(folder, operator.signing.trusted_root)
    beer = Subscription(model="beer", stage="production")
    config = replace(text, models=(*text.models, beer))
    neighbour = made(model="beer")
    current = Release(
        version="1", flavor="fp32", sha256=stored(store, neighbour), rollout=1
    )
    store.save(
        Record(model="beer", stage="production", phase=Phase.SERVING, current=current)
    )
    pointer = StagePointer(
        model="wine", stage="production", version="1", rollout=1, bundles={}
    )
    said = ReleaseRecord(
        model="wine", version="1", run_id="", source_sha256="0" * 64, bundles=()
    )
    room = measured(config, store, Vouched(pointer=pointer, record=said, entries=()))
    peak = neighbour.manifest.footprint.peak_rss_bytes
    assert room.neighbours == {"beer": peak - RUNTIME_BYTES}
    assert room.own_used_bytes == 0
