"""Step each model's rules by what happens, and have carried out what they ask for.

By the worker that serves, and by children that live for one job. Knows no broker.
"""

import logging
import queue
from collections.abc import Callable
from typing import assert_never

from edgekit.errors import EdgekitError, TrustError
from edgekit.telemetry.refusals import Reason, RefusalCounter
from edgekit_agent.config import Config
from edgekit_agent.rules.events import (
    Action,
    Collect,
    Discard,
    Event,
    HookAnswered,
    Load,
    Proceed,
    Prove,
    RunHook,
    StartUpdate,
    StopUpdate,
    Ticked,
    UpdateFailed,
    WorkerDied,
    WorkerReady,
)
from edgekit_agent.rules.hook import Answer
from edgekit_agent.rules.record import Release
from edgekit_agent.rules.state import ModelState, Moment
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision.attendant import Attendant, Notice, Stats
from edgekit_agent.supervision.child import News
from edgekit_agent.supervision.errands import Errands
from edgekit_agent.supervision.freshness import Freshness, FreshnessFile
from edgekit_agent.supervision.jobs import (
    Slot,
    hook_meaning,
    proof_meaning,
    update_meaning,
)
from edgekit_agent.supervision.roster import Roster
from edgekit_agent.supervision.settings import Settings

log = logging.getLogger(__name__)

_HOOK_GRACE_S = 30.0  # for its process to start, and to say how it ended


class Steward:
    """The models of one device. Used by one thread."""

    def __init__(  # noqa: PLR0913 - what models need of an agent
        self,
        config: Config,
        settings: Settings,
        *,
        store: Store,
        inbox: queue.SimpleQueue[News],
        refusals: RefusalCounter,
        clock: Callable[[], Moment],
    ) -> None:
        self._config = config
        self._store = store
        self._refusals = refusals
        self._clock = clock
        self._roster = Roster(store, config.models, settings.policy)
        self._freshness_file = FreshnessFile(store.tuf)
        self._errands = Errands(
            config, store, updater=settings.updater, proof=settings.proof
        )
        self._updates = Slot(
            update_meaning,
            inbox=inbox,
            silent_s=settings.updater_silent_s,
            pass_fds=(settings.lock,),
        )
        self._proofs = Slot(proof_meaning, inbox=inbox, silent_s=settings.proof_silent_s)
        hook_silent_s = config.hooks.limit_s + _HOOK_GRACE_S
        self._hooks = Slot(hook_meaning, inbox=inbox, silent_s=hook_silent_s)
        self._slots = (self._updates, self._proofs, self._hooks)
        self._turns = 0  # of freshness
        self.freshness = Freshness()
        self.worker = Attendant(
            *settings.worker,
            inbox=inbox,
            patience=settings.patience,
            lifeline=settings.lifeline,
        )

    @property
    def states(self) -> tuple[ModelState, ...]:
        """The states of all models."""
        return self._roster.states

    @property
    def changes(self) -> int:
        """A number that grows whenever what would be reported changes."""
        return self._roster.changes + self._turns

    def begin(self, at: Moment) -> None:
        """Start what serves, and go on where the last process was."""
        started = self.worker.begin(at.s)  # first of all, serve
        self._judge_freshness(at)
        self._died(started, at.s)
        self._roster.collect()

    def tick(self, at: Moment) -> None:
        """Do what is due."""
        self.worker.tick(at.s)
        for slot in self._slots:
            slot.check(at.s)
        self._judge_freshness(at)
        self.each(Ticked())

    def save_again(self) -> None:
        """Try to persist what the disk refused before."""
        self._roster.save_again()

    def stop_jobs(self) -> None:
        """End the children that live for one job."""
        for slot in self._slots:
            slot.stop()

    def each(self, event: Event) -> None:
        """Something happened to every model."""
        for model in self._roster.names:
            self._apply(model, event)

    def heard(self, news: News) -> Stats | None:
        """Do what follows from a child's news; return what the worker counted, if that."""
        now_s = self._clock().s
        if self.worker.owns(news.child):
            return self._worked(news, now_s)
        for slot in self._slots:
            if slot.owns(news.child):
                self._job(slot, news, now_s)
                break
        return None

    def _worked(self, news: News, now_s: float) -> Stats | None:
        match self.worker.heard(news, now_s):
            case Notice(model=None, event=WorkerDied() as event):
                self._died(event, now_s)
            case Notice(model=None, event=event):
                self.each(event)
            case Notice(model=model, event=event) if model in self._roster.names:
                self._apply(str(model), event)
            case Stats() as stats:
                return stats
            case _:
                pass
        return None

    def _job(self, slot: Slot, news: News, now_s: float) -> None:
        heard = slot.heard(news, now_s)
        if heard is None:
            return
        job, said = heard
        try:
            meaning = slot.meaning(job, said)
        except EdgekitError as error:
            log.error("%s", error)  # noqa: TRY400 - no traceback for users
            news.child.kill()  # its end is news, and stands for a failure
            return
        if meaning.last:
            slot.conclude()
        if slot is self._updates:
            self._freshness_file.read()
        self._refusals.add(Reason.UPDATE_CHUNK, meaning.refused)
        match meaning.event:
            case UpdateFailed(error=TrustError.__name__):
                self._refusals.add(Reason.UPDATE_UNTRUSTED)
        if meaning.event is not None:
            self._apply(job.model, meaning.event)

    # --- what is done -----------------------------------------------------------------

    def _died(self, event: Event, now_s: float) -> None:
        """What serves is gone; a version that returns for it does not wait for its turn."""
        before = self._roster.wanted
        self.each(event)
        if self._roster.wanted != before:
            self.worker.hurry(now_s)

    def _apply(self, model: str, event: Event) -> None:
        for action in self._roster.apply(model, event, self._clock()):
            self._carry_out(model, action)

    def _carry_out(self, model: str, action: Action) -> None:
        now_s = self._clock().s
        match action:
            case StartUpdate():
                self._updates.submit(self._errands.update(model), now_s)
            case Proceed():
                self._updates.tell(model, do="proceed")
            case StopUpdate():
                self._updates.cancel(model)
            case Prove(release=release):
                self._prove(model, release, now_s)
            case RunHook():
                self._ask(model, action, now_s)
            case Load(release=release):
                if self._serving:  # else it is asked for again when signatures are fresh
                    overlap = self._roster.overlaps(release, self._config)
                    self.worker.load(model, release, now_s, overlap=overlap)
            case Discard(sha256=sha256):
                self._store.discard(sha256)
            case Collect():
                self._roster.collect()
            case _ as never:
                assert_never(never)

    def _prove(self, model: str, release: Release, now_s: float) -> None:
        """Run a proof; the worker lends it the last real inputs."""
        recent = self._errands.recent(release) if self.worker.up else None
        if recent is not None:
            self.worker.write_recent(model, recent)
        record = self._roster.state(model).record
        self._proofs.submit(self._errands.proof(release, record, recent), now_s)

    def _ask(self, model: str, asked: RunHook, now_s: float) -> None:
        """Run a hook; where the device has none, it is a go at once."""
        job = self._errands.hook(model, asked)
        if job is not None:
            self._hooks.submit(job, now_s)
            return
        sha256, go = asked.release.sha256, Answer.GO
        none = HookAnswered(hook=asked.hook, sha256=sha256, answer=go, ran=False)
        self._apply(model, none)

    # --- how fresh it is --------------------------------------------------------------

    @property
    def _serving(self) -> bool:
        return self._config.staleness.may_serve(stale=self.freshness.stale)

    def _judge_freshness(self, at: Moment) -> None:
        """Notice when signatures expire and are renewed; stop and start serving by that."""
        served, before = self._serving, self.freshness
        self.freshness = self._freshness_file.judge(at.utc)
        if self.freshness == before:
            return
        self._turns += 1
        if self.freshness.stale != before.stale:
            said = "expired on" if self.freshness.stale else "hold again until"
            log.warning("signatures %s %s", said, self.freshness.until)
        if served and not self._serving:
            log.error("requests are not answered until signatures are fresh (staleness)")
            for model in self._roster.names:
                self.worker.unload(model)
        if served != self._serving:
            self.each(WorkerReady())  # the worker holds nothing (any more)
