"""The resident process: receive, step the rules, carry out, report.

Knows no onnxruntime, numpy or tuf: what needs them runs in children that can be killed.
One loop owns all state; other threads only put news into its inbox.
"""

import hashlib
import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

from edgekit.errors import EdgekitError, TrustError
from edgekit.telemetry.refusals import Reason, RefusalCounter
from edgekit.transport import Arrival, Connected, Disconnected, Message, Transport
from edgekit.wire import Topics
from edgekit_agent.config import Config
from edgekit_agent.rules.events import (
    Action,
    Announced,
    Collect,
    Discard,
    Event,
    HookAnswered,
    Load,
    Offline,
    Online,
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
from edgekit_agent.rules.state import Moment, Policy
from edgekit_agent.rules.watch import Patience
from edgekit_agent.storage import profiles
from edgekit_agent.storage.spool import Spool
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision import health
from edgekit_agent.supervision.attendant import Attendant, Notice, Stats
from edgekit_agent.supervision.child import Ended, News, Said
from edgekit_agent.supervision.errands import Errands
from edgekit_agent.supervision.freshness import Freshness, FreshnessFile
from edgekit_agent.supervision.jobs import (
    Slot,
    hook_meaning,
    proof_meaning,
    update_meaning,
)
from edgekit_agent.supervision.lifeline import Lifeline
from edgekit_agent.supervision.notify import Notifier
from edgekit_agent.supervision.receipts import Receipts
from edgekit_agent.supervision.refusals import RefusalsFile
from edgekit_agent.supervision.relay import Relay
from edgekit_agent.supervision.reporter import Reporter
from edgekit_agent.supervision.roster import Roster
from edgekit_agent.supervision.telemetry import Telemetry

log = logging.getLogger(__name__)

TIMESTAMP = "timestamp.json"
_MAX_ARRIVALS = 64  # that wait in the inbox; the transport's own queue is behind it
_RECEIVE_S = 1.0
_HOOK_GRACE_S = 30.0  # for its process to start, and to say how it ended
_LAST_WORDS_S = 0.5  # for what a worker said before its end to be read
_MAX_DEFECTS = 10  # then a fresh process may do better


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody asked for an orderly end."""


Item = Arrival | News | Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the agent is run: its children's commands, patience, service manager.

    A command is a Python module and the arguments that every child of the kind gets.
    """

    updater: tuple[str, ...]
    proof: tuple[str, ...]
    worker: tuple[str, ...]
    lock: int  # the descriptor that holds the store: passed on to who changes it
    policy: Policy = field(default_factory=Policy)
    patience: Patience = field(default_factory=Patience)
    updater_silent_s: float = 600.0
    proof_silent_s: float = 300.0
    stop_s: float = 8.0
    loop_s: float = 1.0
    watchdog_s: float | None = None
    lifeline: Lifeline | None = None  # with one, the worker runs in this very process


class Supervisor:
    """Run with run(); any thread, or a signal handler, may call stop()."""

    def __init__(  # noqa: PLR0913 - the parts an agent consists of
        self,
        config: Config,
        settings: Settings,
        *,
        store: Store,
        transport: Transport,
        notifier: Notifier,
        clock: Callable[[], Moment],
    ) -> None:
        self._config = config
        self._settings = settings
        self._store = store
        self._transport = transport
        self._notifier = notifier
        self._clock = clock
        self._topics = Topics(fleet=config.fleet)
        self._inbox: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._arrivals = threading.BoundedSemaphore(_MAX_ARRIVALS)
        news: queue.SimpleQueue[News] = self._inbox  # type: ignore[assignment]  # it takes more
        self._roster = Roster(store, config.models, settings.policy)
        boot_id = store.begin()
        self._reporter = Reporter(config, transport, boot_id, partial(profiles.read, store))
        spool = Spool(store.telemetry, most_bytes=config.telemetry_spool_bytes)
        self._refusals = RefusalCounter()
        self._refusals_file = RefusalsFile(config.runtime_dir)
        self._telemetry = Telemetry(
            config, transport, spool, boot_id, refusals=self._refusals
        )
        self._receipts = Receipts(config, transport, boot_id, inbox=news)
        self._relay = Relay(
            self._topics,
            config.device,
            transport=transport,
            socket=config.socket,
            refusals=self._refusals,
        )
        self._freshness_file = FreshnessFile(store.tuf)
        self._freshness = Freshness()
        self._errands = Errands(
            config, store, updater=settings.updater, proof=settings.proof
        )
        self._worker = Attendant(
            *settings.worker,
            inbox=news,
            patience=settings.patience,
            lifeline=settings.lifeline,
        )
        self._updates = Slot(
            update_meaning,
            inbox=news,
            silent_s=settings.updater_silent_s,
            pass_fds=(settings.lock,),
        )
        self._proofs = Slot(proof_meaning, inbox=news, silent_s=settings.proof_silent_s)
        hook_silent_s = config.hooks.limit_s + _HOOK_GRACE_S
        self._hooks = Slot(hook_meaning, inbox=news, silent_s=hook_silent_s)
        self._slots = (self._updates, self._proofs, self._hooks)
        self._announced = b""  # digest of the newest timestamp seen
        self._reported = -1
        self._fed_s = 0.0
        self._defects = 0  # in a row
        self._running = True

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._inbox.put(Stop())

    def run(self) -> None:
        """Run until stop() is called."""
        self._begin()
        while self._running:
            try:
                self._turn()
                self._defects = 0
            except Exception:  # the outermost loop: one bad message must not end serving
                self._defects += 1
                log.exception("a defect of the agent; it goes on")
                if self._defects >= _MAX_DEFECTS:
                    raise
        self._end()

    # --- the loop ---------------------------------------------------------------------

    def _begin(self) -> None:
        at = self._clock()
        started = self._worker.begin(at.s)  # first of all, serve
        self._telemetry.begin(at)
        self._refusals_file.begin(at.utc)
        self._judge_freshness(at)
        self._died(started, at.s)
        self._roster.collect()
        self._transport.subscribe(
            self._topics.file(TIMESTAMP), self._topics.taken(self._config.device)
        )
        if self._config.serving.mqtt:
            self._relay.start()
        threading.Thread(target=self._pump, name="transport", daemon=True).start()
        self._notifier.ready()

    def _turn(self) -> None:
        try:
            item = self._inbox.get(timeout=self._settings.loop_s)
        except queue.Empty:
            item = None
        if item is not None:
            self._handle(item)
        self._tick()

    def _pump(self) -> None:
        """Bring arrivals to the inbox, a bounded number ahead of the loop."""
        while self._running:
            arrival = self._transport.receive(_RECEIVE_S)
            if arrival is None:
                continue
            if isinstance(arrival, Message) and self._relay.offer(arrival):
                continue
            self._arrivals.acquire()
            self._inbox.put(arrival)

    def _handle(self, item: Item) -> None:
        match item:
            case Message() | Connected() | Disconnected():
                self._arrivals.release()
                self._arrived(item)
            case Said() | Ended():
                self._news(item)
            case Stop():
                self._running = False
            case _ as never:
                assert_never(never)

    def _tick(self) -> None:
        at = self._clock()
        self._worker.tick(at.s)
        for slot in self._slots:
            slot.check(at.s)
        self._judge_freshness(at)
        self._each(Ticked())
        if self._telemetry.due(at):
            self._roster.save_again()
            self._end_window(at)
        self._telemetry.tick(at)
        if self._roster.changes != self._reported:
            self._report(at)
        self._receipts.tick(self._roster.states, at)
        watchdog_s = self._settings.watchdog_s
        hungry = watchdog_s and at.s - self._fed_s >= watchdog_s / 3
        if hungry and not self._worker.holds_up(at.s):
            self._fed_s = at.s
            self._notifier.alive()

    def _end(self) -> None:
        log.info("stopping")
        self._notifier.stopping()
        for slot in self._slots:
            slot.stop()
        self._receipts.stop()
        self._worker.stop(self._settings.stop_s)
        self._count_last()
        self._reporter.goodbye()
        self._transport.close()

    # --- what arrives -----------------------------------------------------------------

    def _arrived(self, arrival: Arrival) -> None:
        match arrival:
            case Connected():
                log.info("broker: connected")
                at = self._clock()
                self._reporter.present(at)
                self._reporter.discoverable()
                self._report(at)
                self._receipts.publish()
                self._telemetry.connected(at)
                self._each(Online())
            case Disconnected(reason=reason):
                log.warning("broker: %s; connecting again, serving on", reason)
                self._telemetry.disconnected()
                self._each(Offline())
            case Message(topic=topic, payload=payload):
                if topic == self._topics.file(TIMESTAMP):
                    self._timestamp(payload)
                elif topic == self._topics.taken(self._config.device):
                    self._telemetry.taken(payload)
                else:
                    self._refusals.add(Reason.BROKER_TOPIC)
            case _ as never:
                assert_never(never)

    def _timestamp(self, payload: bytes) -> None:
        """A new timestamp announces something new; the one we know, a returned depot."""
        digest = hashlib.sha256(payload).digest()
        fresh = digest != self._announced
        self._announced = digest
        self._each(Announced() if fresh else Online())

    def _news(self, news: News) -> None:
        now_s = self._clock().s
        if self._worker.owns(news.child):
            match self._worker.heard(news, now_s):
                case Notice(model=None, event=WorkerDied() as event):
                    self._died(event, now_s)
                case Notice(model=None, event=event):
                    self._each(event)
                case Notice(model=model, event=event) if model in self._roster.names:
                    self._apply(str(model), event)
                case Stats() as stats:
                    self._count(stats, self._clock())
                case _:
                    pass
            return
        if self._receipts.owns(news.child):
            self._receipts.heard(news, now_s)
            return
        for slot in self._slots:
            if slot.owns(news.child):
                self._job(slot, news, now_s)
                return

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
        match meaning.event:
            case UpdateFailed(error=TrustError.__name__):
                self._refusals.add(Reason.UPDATE_UNTRUSTED)
        if meaning.event is not None:
            self._apply(job.model, meaning.event)

    # --- what is done -----------------------------------------------------------------

    def _each(self, event: Event) -> None:
        for model in self._roster.names:
            self._apply(model, event)

    def _died(self, event: Event, now_s: float) -> None:
        """What serves is gone; a version that returns for it does not wait for its turn."""
        before = self._roster.wanted
        self._each(event)
        if self._roster.wanted != before:
            self._worker.hurry(now_s)

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
                    self._worker.load(model, release, now_s, overlap=overlap)
            case Discard(sha256=sha256):
                self._store.discard(sha256)
            case Collect():
                self._roster.collect()
            case _ as never:
                assert_never(never)

    def _prove(self, model: str, release: Release, now_s: float) -> None:
        """Run a proof; the worker lends it the last real inputs."""
        recent = self._errands.recent(release) if self._worker.up else None
        if recent is not None:
            self._worker.write_recent(model, recent)
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
        return self._config.staleness.may_serve(stale=self._freshness.stale)

    def _judge_freshness(self, at: Moment) -> None:
        """Notice when signatures expire and are renewed; stop and start serving by that."""
        served, before = self._serving, self._freshness
        self._freshness = self._freshness_file.judge(at.utc)
        if self._freshness == before:
            return
        self._reported = -1
        if self._freshness.stale != before.stale:
            said = "expired on" if self._freshness.stale else "hold again until"
            log.warning("signatures %s %s", said, self._freshness.until)
        if served and not self._serving:
            log.error("requests are not answered until signatures are fresh (staleness)")
            for model in self._roster.names:
                self._worker.unload(model)
        if served != self._serving:
            self._each(WorkerReady())  # the worker holds nothing (any more)

    # --- what is told -----------------------------------------------------------------

    def _end_window(self, at: Moment) -> None:
        if self._worker.up:
            self._worker.ask_stats()
        else:
            self._count(Stats(), at)

    def _count(self, stats: Stats, at: Moment) -> None:
        now = health.sample(self._config.state_dir, worker_rss_bytes=stats.rss_bytes)
        window = self._telemetry.counted(stats, now, at)
        self._refusals_file.add(window.refusals)
        self._reporter.figures(window, self._roster.states)

    def _count_last(self) -> None:
        """Count what the worker told when it was stopped, which is in the inbox."""
        at, counted = self._clock(), False
        with suppress(queue.Empty):
            while not isinstance(news := self._inbox.get(timeout=_LAST_WORDS_S), Ended):
                if isinstance(news, Said) and self._worker.owns(news.child):
                    told = self._worker.heard(news, at.s)
                    if isinstance(told, Stats):
                        self._count(told, at)
                        counted = True
        if not counted:  # no worker told anything; this process may have refused something
            self._count(Stats(), at)
        self._telemetry.tick(at)

    def _report(self, at: Moment) -> None:
        self._reported = self._roster.changes
        self._reporter.state(
            self._roster.states,
            at,
            onnxruntime=self._worker.onnxruntime,
            freshness=self._freshness,
        )
        self._notifier.status(_status(self._roster))


def _status(roster: Roster) -> str:
    return ", ".join(
        f"{state.record.model}: {state.record.phase}"
        + (f" version {state.record.current.version}" if state.record.current else "")
        for state in roster.states
    )
