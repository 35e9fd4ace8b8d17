"""Hold the models that answer requests, and exchange them without losing one.

Knows bundles, schemas and sessions; no HTTP and no processes. A model is complete, warm
and checked before it answers its first request; the one it replaces answers its last.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from edgekit import binding, golden
from edgekit.errors import ConfigError, ProofError, SchemaError, TransportError
from edgekit.manifest import GOLDEN_NAME, MODEL_NAME, Binding
from edgekit.runtime import Session, give_back_memory
from edgekit.schema import Enforcement, OutputSchema, Schema, encode_predictions
from edgekit.schema.outputs import Answer
from edgekit.table import rows, take
from edgekit_agent.service.content import Content
from edgekit_agent.service.recent import Recent
from edgekit_agent.service.telemetry import Counts
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store

log = logging.getLogger(__name__)

DRAIN_S = 10.0
EXCHANGE_S = 30.0  # a request waits so long where there is no memory for two models


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model a bundle is, as every answer tells."""

    model: str
    version: str
    flavor: str
    sha256: str


class UnknownModelError(ConfigError):
    """A request for a model that is not served here."""


class ExchangingError(TransportError):
    """A request for a model that is being exchanged, for longer than requests wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A loaded model with its interface."""

    identity: Identity
    schema: Schema
    binding: Binding
    session: Session
    outputs: OutputSchema | None = None
    recent: Recent | None = None

    @classmethod
    def load(cls, store: Store, identity: Identity) -> "Served":
        """Load a stored bundle, checked bit by bit, and let it answer one golden row.

        Raises StoreError when the disk changed it, ProofError when this runtime cannot
        run it, SchemaError when its signature cannot be enforced here.
        """
        manifest = bundles.read(store, identity.sha256)
        folder = store.bundle(identity.sha256)
        schema = Schema.from_signature(manifest.signature)
        served = cls(
            identity=identity,
            schema=schema,
            binding=manifest.binding,
            session=Session.load(folder / MODEL_NAME, manifest.runtime),
        )
        if GOLDEN_NAME in manifest.files:
            known = golden.decode((folder / GOLDEN_NAME).read_bytes())
            first = take(known.inputs, [0]) if rows(known.inputs) else known.inputs
            raw = served.session.run(binding.feeds(manifest.binding, first))
            answer = binding.results(manifest.binding, raw).prediction
            return replace(served, outputs=_promised(identity, schema, answer))
        return served

    def answer(self, body: bytes, content: Content, mode: Enforcement) -> tuple[bytes, int]:
        """Return the response to a scoring request, and how many rows it had.

        Raises SchemaError for rows that the signature refuses, ProofError when the model
        fails on rows that it should take, or answers what its signature rules out.
        """
        parse = self.schema.parse_csv if content is Content.CSV else self.schema.parse
        payload = parse(body, mode=mode)
        raw = self.session.run(binding.feeds(self.binding, payload.table))
        found = binding.results(self.binding, raw)
        if self.outputs is not None and mode is not Enforcement.OFF:
            self.outputs.check(found.prediction)
        if self.recent is not None:
            self.recent.add(payload.table, found.prediction)
        answer = encode_predictions(found.prediction, framed=self.schema.has_columns)
        return answer, rows(payload.table)


def _promised(identity: Identity, schema: Schema, answer: Answer) -> OutputSchema | None:
    """Return the output schema if the model's own golden answer keeps it."""
    if schema.outputs is None:
        return None
    try:
        schema.outputs.check(answer)
    except ProofError as error:
        log.warning(
            "model %s %s: answers are not checked: %s",
            identity.model,
            identity.version,
            error,
        )
        return None
    return schema.outputs


@dataclass(slots=True, eq=False)
class _Place:
    """A model in use: how many requests hold it, and what they came to."""

    served: Served
    counts: Counts
    users: int = 0


class Shelf:
    """The models of one worker by name. Any thread may ask; one thread changes it."""

    def __init__(self, mode: Enforcement) -> None:
        self._mode = mode
        self._lock = threading.Lock()
        self._released = threading.Condition(self._lock)
        self._places: dict[str, _Place] = {}
        self._exchanging: set[str] = set()
        self._gone: list[dict[str, object]] = []  # counts of models that were replaced

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are served, or will be in a moment, sorted."""
        with self._lock:
            return tuple(sorted({*self._places, *self._exchanging}))

    def digest(self, model: str) -> str | None:
        """Return the digest of the bundle that answers for a model, None without one."""
        found = self.identity(model)
        return found.sha256 if found else None

    def identity(self, model: str) -> Identity | None:
        """Return the bundle that answers for a model, None without one."""
        with self._lock:
            place = self._places.get(model)
        return place.served.identity if place else None

    def recent(self, model: str) -> bytes:
        """Return what was asked of a model lately; empty where nothing is kept."""
        with self._lock:
            place = self._places.get(model)
        kept = place.served.recent if place else None
        return kept.encode() if kept else b""

    def answer(
        self, model: str | None, body: bytes, content: Content = Content.JSON
    ) -> tuple[bytes, Identity]:
        """Answer a scoring request and count it; `model` may be None where one is served.

        Raises UnknownModelError, ExchangingError, SchemaError or ProofError.
        """
        began_ns = time.perf_counter_ns()
        with self._using(model) as place:
            try:
                response, count = place.served.answer(body, content, self._mode)
            except SchemaError:
                with self._lock:
                    place.counts.refused()
                raise
            except ProofError:
                with self._lock:
                    place.counts.failed()
                raise
            took_us = (time.perf_counter_ns() - began_ns) // 1000
            with self._lock:
                place.counts.answered(rows=count, us=took_us)
            return response, place.served.identity

    def put(self, served: Served) -> None:
        """Let a model answer from now on; free its predecessor when it is done."""
        self._replace(served.identity.model, _Place(served=served, counts=Counts()))

    @contextmanager
    def pause(self, model: str) -> Iterator[None]:
        """Free what answers for a model; requests for it wait until this ends."""
        with self._lock:
            self._exchanging.add(model)
        try:
            self._replace(model, None)
            yield
        finally:
            with self._released:
                self._exchanging.discard(model)
                self._released.notify_all()

    def drop(self, model: str) -> None:
        """Answer no more for a model."""
        self._replace(model, None)

    def drain(self) -> list[dict[str, object]]:
        """Return what was counted for each bundle since the last call, and start anew."""
        with self._lock:
            told, self._gone = self._gone, []
            for place in self._places.values():
                told.append(_table(place.served.identity, place.counts))
                place.counts = Counts()
        return told

    @contextmanager
    def _using(self, model: str | None) -> Iterator[_Place]:
        with self._released:
            self._await_exchange(model)
            place = self._find(model)
            place.users += 1
        try:
            yield place
        finally:
            with self._released:
                place.users -= 1
                self._released.notify_all()

    def _await_exchange(self, model: str | None) -> None:
        def over() -> bool:
            return model not in self._exchanging if model else not self._exchanging

        if not self._released.wait_for(over, EXCHANGE_S):
            raise ExchangingError(
                f"model {model or ''}: it is being exchanged; ask again later"
            )

    def _find(self, model: str | None) -> _Place:
        served = ", ".join(sorted(self._places)) or "none yet"
        if model is None:
            if len(self._places) == 1:
                return next(iter(self._places.values()))
            raise UnknownModelError(
                f"request: it names no model; POST to /models/NAME/invocations: {served}"
            )
        if model not in self._places:
            raise UnknownModelError(
                f"model {model}: it is not served here; served: {served}"
            )
        return self._places[model]

    def _replace(self, model: str, place: _Place | None) -> None:
        with self._lock:
            old = self._places.pop(model, None)
            if place is not None:
                self._places[model] = place
        if old is None:
            return
        self._retire(old)
        del old
        give_back_memory()

    def _retire(self, old: _Place) -> None:
        """Wait until nobody holds a place, and keep what it counted."""
        with self._released:
            self._released.wait_for(lambda: not old.users, DRAIN_S)
            if old.counts.requests:
                self._gone.append(_table(old.served.identity, old.counts))


def _table(identity: Identity, counts: Counts) -> dict[str, object]:
    return {
        "model": identity.model,
        "version": identity.version,
        "flavor": identity.flavor,
        "sha256": identity.sha256,
        **counts.to_table(),
    }
