"""The process that finds out what to run, and fetches it. Lives for one update.

It refreshes trusted metadata, resolves the stage's pointer, chooses the bundle that fits
and asks the supervisor before it fetches; then it unpacks the bundle into the store. It
may be killed at any moment: nothing verified is lost. Each line on standard output is one
JSON object, as edgekit_agent.supervision.jobs reads them.
"""

import argparse
import hashlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from edgekit.errors import (
    AdmissionError,
    EdgekitError,
    StoreError,
    TransportError,
    TrustError,
)
from edgekit.manifest import Manifest
from edgekit.mqtt import MqttTransport
from edgekit.session import SessionOptions
from edgekit.statement import DIGEST_BYTES, BundleEntry, slug
from edgekit.transport import Transport
from edgekit.trust.client import TrustClient, Vouched
from edgekit.wire import Topics
from edgekit_agent import config, lines
from edgekit_agent.config import Config
from edgekit_agent.rules.record import Release
from edgekit_agent.storage import bundles, testimony
from edgekit_agent.storage.store import Store
from edgekit_agent.subscription import Subscription
from edgekit_agent.update import admission
from edgekit_agent.update.fetch import Count, fetch_bundle, uncounted
from edgekit_agent.update.metadata import RetainedFiles
from edgekit_agent.update.patched import Patching
from edgekit_agent.update.room import measured
from edgekit_agent.update.standstill import Patience

log = logging.getLogger(__name__)

ANSWER_S = 120.0  # the supervisor is near, and may be busy for a moment
PROGRESS_S = 1.0
# What this device is too slow for at the moment waits at the broker, instead of being sent
# again to everybody: flash may write nothing for seconds. Well below the keep-alive.
SESSION = SessionOptions(queue_patience_s=10.0)


class UnfitBundleError(TrustError):
    """What was signed arrived whole, and must not run: fetching it again is pointless."""


class Update:
    """One model's update, in the order in which its parts must happen."""

    def __init__(  # noqa: PLR0913 - an update's nouns come from as many places
        self,
        settings: Config,
        wanted: Subscription,
        *,
        store: Store,
        transport: Transport,
        progress: Callable[[int, int], None],
        refused: Count = uncounted,
    ) -> None:
        self._config = settings
        self._wanted = wanted
        self._store = store
        self._transport = transport
        self._topics = Topics(fleet=settings.fleet)
        self._files = RetainedFiles(transport, self._topics)
        self._progress = progress
        self._refused = refused
        self._signed = b""  # for what was resolved

    def resolve(self) -> Vouched | None:
        """Return what both roles vouch for; TrustError or TransportError otherwise."""
        client = TrustClient(
            self._store.tuf,
            self._config.root,
            self._files,
            datetime.now(UTC),
            fleet=self._config.fleet,
            believe_clock=self._config.staleness.believes_clock,
        )
        client.refresh()
        vouched = client.resolve(stage=self._wanted.stage, model=self._wanted.model)
        self._signed = client.evidence(vouched).to_json() if vouched else b""
        return vouched

    def choose(self, vouched: Vouched) -> BundleEntry:
        """Return the bundle for this device; AdmissionError when none fits.

        What this pointer made it run, or try, is chosen again: a choice does not change
        with the memory that happens to be free. What was found wrong here is not, unless
        nothing else fits: then it stands for the verdict.
        """
        record = self._store.load(self._wanted)
        rollout, subject = vouched.pointer.rollout, vouched.pointer.model
        refused = {r.sha256 for r in record.refused if r.rollout == rollout}
        known = (record.current, record.attempt)
        tried = {one.sha256 for one in known if one and one.rollout == rollout}
        for entry in vouched.entries:
            if entry.sha256 in tried - refused:
                return entry
        room = measured(self._config, self._store, vouched)
        left = [entry for entry in vouched.entries if entry.sha256 not in refused]
        try:
            return admission.choose(f"{subject} {vouched.pointer.version}", left, room)
        except AdmissionError:
            judged = [entry for entry in vouched.entries if entry.sha256 in tried]
            if judged:
                return judged[0]
            raise

    def fetch(
        self, vouched: Vouched, entry: BundleEntry, patience: Patience | None = None
    ) -> None:
        """Bring the bundle into the store, whole and verified.

        Raises TransportError or StoreError to be tried again, UnfitBundleError when that
        is pointless, TrustError when what was signed contradicts itself.
        """
        index, record = self._index(entry), self._store.load(self._wanted)
        held = [one.sha256 for one in (record.current, record.previous) if one]
        patching = Patching(
            transport=self._transport,
            topics=self._topics,
            device=self._config.device,
            store=self._store,
            progress=self._progress,
            refused=self._refused,
        )
        manifest = patching.bring(entry, index, held)
        if manifest is None:
            manifest = self._whole(entry, index, patience)
        pointer = vouched.pointer
        told = (manifest.model.name, manifest.model.version, manifest.flavor)
        if told != (pointer.model, pointer.version, entry.flavor):
            self._store.discard(entry.sha256)
            raise UnfitBundleError(
                f"bundle {entry.sha256[:12]}: its manifest says {' '.join(told)},"
                f" {pointer.model} {pointer.version} {entry.flavor} is expected"
            )
        self._store.drop_incoming(entry.sha256)

    def keep_signed(self, entry: BundleEntry) -> None:
        """Keep what was signed for a bundle beside it; StoreError when that cannot be."""
        testimony.keep_signed(self._store.bundle(entry.sha256), self._signed)

    def _whole(
        self, entry: BundleEntry, index: bytes, patience: Patience | None
    ) -> Manifest:
        path = fetch_bundle(
            self._transport,
            self._topics,
            self._config.device,
            entry,
            index,
            self._store.incoming,
            progress=self._progress,
            refused=self._refused,
            patience=patience,
        )
        try:
            return bundles.add(self._store, entry.sha256, path)
        except TrustError as error:
            if _file_digest(path) == entry.sha256:
                raise UnfitBundleError(str(error)) from error
            self._store.drop_incoming(entry.sha256)
            raise StoreError(f"{path}: it changed on the disk") from error

    def _index(self, entry: BundleEntry) -> bytes:
        name = f"index/{entry.index_sha256}"
        index = self._files.file(name, entry.chunks * DIGEST_BYTES)
        if index is None:
            raise TransportError(f"{name}: the depot does not offer it yet")
        if hashlib.sha256(index).hexdigest() != entry.index_sha256:
            raise TrustError(
                f"{name}: its digest is another one; a depot must not alter it"
            )
        return index


class Progress:
    """Tells the supervisor how far the fetch is, now and then."""

    def __init__(self, voice: lines.Voice) -> None:
        self._voice = voice
        self._told_s = 0.0

    def __call__(self, here: int, length: int) -> None:
        """Tell, if it is time."""
        now_s = time.monotonic()
        if now_s - self._told_s >= PROGRESS_S:
            self._told_s = now_s
            self._voice.say("progress", bytes=here, of=length)


def update(
    one: Update, store: Store, voice: lines.Voice, answered: threading.Event
) -> None:
    """Resolve, ask, fetch; tell each step. Raises EdgekitError."""
    vouched = one.resolve()
    if vouched is None:
        voice.say("nothing")
        return
    entry = one.choose(vouched)
    stored = bundles.holds(store, entry.sha256)
    release = Release(
        version=vouched.pointer.version,
        flavor=entry.flavor,
        sha256=entry.sha256,
        rollout=vouched.pointer.rollout,
    )
    if stored:
        one.keep_signed(entry)
    voice.say("resolved", release=release.to_table(), stored=stored)
    if not answered.wait(ANSWER_S):
        raise TransportError("updater: the supervisor did not answer")
    if not stored:
        one.fetch(vouched, entry)
        one.keep_signed(entry)
    store.drop_incoming(entry.sha256)  # a kill may have left it
    voice.say("fetched", sha256=entry.sha256)


def main() -> None:
    """Update one model and tell how it went."""
    arguments = _arguments()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="updater: %(message)s"
    )
    voice = lines.Voice.claim()
    answered = threading.Event()
    lines.end_with(sys.stdin, lambda _line: answered.set())
    try:
        _run(arguments, voice, answered)
    except EdgekitError as error:
        voice.say(
            "failed",
            error=type(error).__name__,
            reason=str(error),
            final=isinstance(error, UnfitBundleError),
        )


def _run(
    arguments: argparse.Namespace, voice: lines.Voice, answered: threading.Event
) -> None:
    settings = config.load(arguments.config)
    wanted = settings.subscription(arguments.model)
    store = Store(settings.state_dir)
    store.prepare()
    client_id = f"edgekit-{slug(settings.device)}-updater"
    transport = MqttTransport.connect(settings.broker, client_id=client_id, options=SESSION)
    try:
        one = Update(
            settings,
            wanted,
            store=store,
            transport=transport,
            progress=Progress(voice),
            refused=lambda chunks: voice.say("refused", chunks=chunks),
        )
        update(one, store, voice, answered)
    finally:
        transport.close()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edgekit_agent.update.updater", description=__doc__
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
