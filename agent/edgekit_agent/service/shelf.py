"""Hold the models that answer requests, and exchange them without losing one.

Knows no HTTP and no processes. A model is complete, warm
and checked before it answers its first request; the one it replaces answers its last.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from edgekit.errors import ConfigError, ProofError, SchemaError, TransportError
from edgekit.runtime import give_back_memory
from edgekit.schema import Enforcement
from edgekit.table import rows
from edgekit.telemetry.counts import BundleCounts
from edgekit_agent.service.content import Content
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.telemetry import Counter

DRAIN_S = 10.0
EXCHANGE_S = 30.0  # a request waits so long where there is no memory for two models


class UnknownModelError(ConfigError):
    """A request for a model that is not served here."""


class ExchangingError(TransportError):
    """A request for a model that is being exchanged, for longer than requests wait."""


@dataclass(slots=True, eq=False)
class _Place:
    """A model in use: how many requests hold it, and what they came to."""

    served: Served
    counter: Counter
    users: int = 0

    def take(self) -> list[BundleCounts]:
        """Return what was counted since the last call, if anything was."""
        taken = self.counter.take(**asdict(self.served.identity))
        return [taken] if taken else []


class Shelf:
    """The models of one worker by name. Any thread may ask; one thread changes it."""

    def __init__(self, mode: Enforcement) -> None:
        self._mode = mode
        self._lock = threading.Lock()
        self._released = threading.Condition(self._lock)
        self._places: dict[str, _Place] = {}
        self._exchanging: set[str] = set()
        self._gone: list[BundleCounts] = []  # of models that were replaced

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
                scored = place.served.answer(body, content, self._mode)
            except SchemaError as refusal:
                place.counter.refused(refusal.column)
                raise
            except ProofError:
                place.counter.failed()
                raise
            took_us = (time.perf_counter_ns() - began_ns) // 1000
            place.counter.answered(
                rows=rows(scored.inputs),
                us=took_us,
                inputs=scored.inputs,
                answers=scored.answers,
            )
            return scored.response, place.served.identity

    def put(self, served: Served) -> None:
        """Let a model answer from now on; free its predecessor when it is done."""
        place = _Place(served=served, counter=Counter(served.profile, served.inputs))
        self._replace(served.identity.model, place)

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

    def drain(self) -> list[BundleCounts]:
        """Return what was counted for each bundle since the last call, and start anew.

        Of a bundle that nobody asked there is nothing.
        """
        with self._lock:
            told, self._gone = self._gone, []
            for place in self._places.values():
                told += place.take()
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
            self._gone += old.take()
