"""The models of a device: step their rules, persist before anything is done, tell why.

Knows the store, no processes and no transport.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace

from edgekit.errors import StoreError
from edgekit_agent import memory
from edgekit_agent.config import Config
from edgekit_agent.rules import keeping
from edgekit_agent.rules.events import Action, Event, NothingReleased, Resolved
from edgekit_agent.rules.record import Record, Release, TroubleKind
from edgekit_agent.rules.state import ModelState, Moment, Policy
from edgekit_agent.rules.step import step
from edgekit_agent.storage.store import Store
from edgekit_agent.subscription import Subscription
from edgekit_agent.update.need import RUNTIME_BYTES, session_bytes

log = logging.getLogger(__name__)


class Roster:
    """Every subscribed model's state. Used by one thread."""

    def __init__(
        self, store: Store, subscriptions: Iterable[Subscription], policy: Policy
    ) -> None:
        self._store = store
        self._policy = policy
        self._states = {
            wanted.model: ModelState(record=replace(store.load(wanted), stage=wanted.stage))
            for wanted in subscriptions
        }
        self._unsaved: set[str] = set()
        self._forgotten = {
            state.record.model
            for state in self.states
            if not state.record.needed and store.forgot(state.record.model)
        }
        self.changes = 0  # grows whenever what would be reported changes

    @property
    def names(self) -> tuple[str, ...]:
        """The models this device subscribes to."""
        return tuple(self._states)

    @property
    def states(self) -> tuple[ModelState, ...]:
        """The states of all models."""
        return tuple(self._states.values())

    def state(self, model: str) -> ModelState:
        """Return the state of one model."""
        return self._states[model]

    def overlaps(self, release: Release, config: Config) -> bool:
        """Whether there is memory for a bundle beside all that is loaded now."""
        loaded = [state.loaded for state in self.states if state.loaded]
        needed = session_bytes(self._store, release.sha256)
        taken = sum(session_bytes(self._store, digest) for digest in loaded)
        within = RUNTIME_BYTES + taken + needed <= config.limits.model_ram_bytes
        return within and needed <= memory.available_bytes()

    @property
    def wanted(self) -> tuple[str | None, ...]:
        """Digests of what the worker should answer with, None where it is nothing yet."""
        releases = (state.wanted for state in self.states)
        return tuple(release.sha256 if release else None for release in releases)

    @property
    def needed(self) -> frozenset[str]:
        """Digests of the bundles that any model needs."""
        return frozenset[str]().union(*(state.record.needed for state in self.states))

    def collect(self) -> None:
        """Delete what no model needs; nothing while one cannot say what it needs."""
        if self._forgotten:
            log.info("deleting nothing before %s was looked up", min(self._forgotten))
        else:
            self._store.collect(self.needed)

    def apply(self, model: str, event: Event, at: Moment) -> tuple[Action, ...]:
        """Step one model; return what to do, now that its record is persisted."""
        if isinstance(event, Resolved | NothingReleased):
            self._forgotten.discard(model)
        before = self._states[model]
        result = step(before, event, at, self._policy)
        if result.state.record != before.record:
            try:
                self._save(result.state.record)
                self._unsaved.discard(model)
            except StoreError as error:
                log.error("%s: %s", model, error)  # noqa: TRY400 - no traceback for users
                reason = str(error)
                result = keeping.unpersisted(before, result, reason, at, self._policy)
                self._unsaved.add(model)
            _tell(before.record, result.state.record)
        self._states[model] = result.state
        if (result.state.record, result.state.loaded) != (before.record, before.loaded):
            self.changes += 1
        return result.actions

    def save_again(self) -> None:
        """Try to persist what the disk refused before."""
        for model in sorted(self._unsaved):
            try:
                self._save(self._states[model].record)
            except StoreError as error:
                log.debug("%s: still not persisted: %s", model, error)
                return
            self._unsaved.discard(model)
            log.info("%s: persisted at last", model)

    def _save(self, record: Record) -> None:
        self._store.save(record, lost=record.model in self._forgotten)


def _tell(before: Record, after: Record) -> None:
    """Log the story: what changed, from what to what, and why."""
    name = after.model
    if after.phase is not before.phase:
        candidate = f" {_words(after.candidate)}" if after.candidate else ""
        log.info("%s: %s -> %s%s", name, before.phase, after.phase, candidate)
    if _digest(after.current) != _digest(before.current):
        log.info("%s: %s -> %s", name, _words(before.current), _words(after.current))
    trouble = after.trouble
    if trouble is not None and trouble != before.trouble:
        level = logging.WARNING if trouble.kind is TroubleKind.NOT_NOW else logging.ERROR
        log.log(level, "%s: %s: %s: %s", name, trouble.kind, trouble.error, trouble.reason)


def _digest(release: Release | None) -> str | None:
    return release.sha256 if release else None


def _words(release: Release | None) -> str:
    if release is None:
        return "nothing"
    return f"version {release.version} ({release.flavor}, {release.sha256[:12]})"
