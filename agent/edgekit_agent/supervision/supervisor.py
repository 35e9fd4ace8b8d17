"""The resident process: one loop that hears, has the rules stepped, counts and reports.

Knows no onnxruntime, numpy or tuf: what needs them runs in children that can be killed.
The loop owns all state; other threads only put news into its inbox.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import assert_never

from edgekit.telemetry.refusals import Reason, RefusalCounter
from edgekit.transport import Arrival, Connected, Disconnected, Message, Transport
from edgekit.wire import Topics
from edgekit_agent.config import Config
from edgekit_agent.rules.events import Announced, Offline, Online
from edgekit_agent.rules.state import ModelState, Moment
from edgekit_agent.storage import profiles
from edgekit_agent.storage.spool import Spool
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision import health
from edgekit_agent.supervision.attendant import Stats
from edgekit_agent.supervision.child import Ended, News, Said
from edgekit_agent.supervision.inbox import Inbox, Item, Stop
from edgekit_agent.supervision.notify import Notifier
from edgekit_agent.supervision.receipts import Receipts
from edgekit_agent.supervision.refusals import RefusalsFile
from edgekit_agent.supervision.relay import Relay
from edgekit_agent.supervision.reporter import Reporter
from edgekit_agent.supervision.settings import Settings
from edgekit_agent.supervision.steward import Steward
from edgekit_agent.supervision.telemetry import Telemetry

log = logging.getLogger(__name__)

TIMESTAMP = "timestamp.json"
_LAST_WORDS_S = 0.5  # for what a worker said before its end to be read
_MAX_DEFECTS = 10  # then a fresh process may do better


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
        self._transport = transport
        self._notifier = notifier
        self._clock = clock
        self._topics = Topics(fleet=config.fleet)
        self._inbox = Inbox()
        self._refusals = RefusalCounter()
        self._refusals_file = RefusalsFile(config.runtime_dir)
        self._steward = Steward(
            config,
            settings,
            store=store,
            inbox=self._inbox.news,
            refusals=self._refusals,
            clock=clock,
        )
        boot_id = store.begin()
        self._reporter = Reporter(config, transport, boot_id, partial(profiles.read, store))
        spool = Spool(store.telemetry, most_bytes=config.telemetry_spool_bytes)
        self._telemetry = Telemetry(
            config, transport, spool, boot_id, refusals=self._refusals
        )
        self._receipts = Receipts(config, transport, boot_id, inbox=self._inbox.news)
        self._relay = Relay(
            self._topics,
            config.device,
            transport=transport,
            socket=config.socket,
            refusals=self._refusals,
        )
        self._announced = b""  # digest of the newest timestamp seen
        self._reported = -1
        self._fed_s = 0.0
        self._defects = 0  # in a row
        self._running = True

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._inbox.stop()

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
        self._steward.begin(at)  # first of all, serve
        self._telemetry.begin(at)
        self._refusals_file.begin(at.utc)
        self._transport.subscribe(
            self._topics.file(TIMESTAMP), self._topics.taken(self._config.device)
        )
        if self._config.serving.mqtt:
            self._relay.start()
        self._inbox.begin(self._transport, self._relay.offer)
        self._notifier.ready()

    def _turn(self) -> None:
        item = self._inbox.get(self._settings.loop_s)
        if item is not None:
            self._handle(item)
        self._tick()

    def _handle(self, item: Item) -> None:
        match item:
            case Message() | Connected() | Disconnected():
                self._arrived(item)
            case Said() | Ended():
                self._news(item)
            case Stop():
                self._running = False
            case _ as never:
                assert_never(never)

    def _tick(self) -> None:
        at = self._clock()
        self._steward.tick(at)
        if self._telemetry.due(at):
            self._steward.save_again()
            self._end_window(at)
        self._telemetry.tick(at)
        if self._steward.changes != self._reported:
            self._report(at)
        self._receipts.tick(self._steward.states, at)
        self._feed(at.s)

    def _feed(self, now_s: float) -> None:
        """Tell the service manager that all is well, if it is."""
        watchdog_s = self._settings.watchdog_s
        hungry = watchdog_s and now_s - self._fed_s >= watchdog_s / 3
        if hungry and not self._steward.worker.holds_up(now_s):
            self._fed_s = now_s
            self._notifier.alive()

    def _end(self) -> None:
        log.info("stopping")
        self._inbox.close()
        self._notifier.stopping()
        self._steward.stop_jobs()
        self._receipts.stop()
        self._steward.worker.stop(self._settings.stop_s)
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
                self._steward.each(Online())
            case Disconnected(reason=reason):
                log.warning("broker: %s; connecting again, serving on", reason)
                self._telemetry.disconnected()
                self._steward.each(Offline())
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
        self._steward.each(Announced() if fresh else Online())

    def _news(self, news: News) -> None:
        if self._receipts.owns(news.child):
            self._receipts.heard(news, self._clock().s)
            return
        stats = self._steward.heard(news)
        if stats is not None:
            self._count(stats, self._clock())

    # --- what is told -----------------------------------------------------------------

    def _end_window(self, at: Moment) -> None:
        if self._steward.worker.up:
            self._steward.worker.ask_stats()
        else:
            self._count(Stats(), at)

    def _count(self, stats: Stats, at: Moment) -> None:
        now = health.sample(self._config.state_dir, worker_rss_bytes=stats.rss_bytes)
        window = self._telemetry.counted(stats, now, at)
        self._refusals_file.add(window.refusals)
        self._reporter.figures(window, self._steward.states)

    def _count_last(self) -> None:
        """Count what the worker told when it was stopped, which is in the inbox.

        Between the ends of the other children, which were stopped before it.
        """
        at, counted = self._clock(), False
        worker = self._steward.worker
        while (item := self._inbox.get(_LAST_WORDS_S)) is not None:
            if not isinstance(item, Said | Ended) or not worker.owns(item.child):
                continue
            if isinstance(item, Ended):
                break
            told = worker.heard(item, at.s)
            if isinstance(told, Stats):
                self._count(told, at)
                counted = True
        if not counted:  # no worker told anything; this process may have refused something
            self._count(Stats(), at)
        self._telemetry.tick(at)

    def _report(self, at: Moment) -> None:
        self._reported = self._steward.changes
        self._reporter.state(
            self._steward.states,
            at,
            onnxruntime=self._steward.worker.onnxruntime,
            freshness=self._steward.freshness,
        )
        self._notifier.status(_status(self._steward.states))


def _status(states: Iterable[ModelState]) -> str:
    return ", ".join(
        f"{state.record.model}: {state.record.phase}"
        + (f" version {state.record.current.version}" if state.record.current else "")
        for state in states
    )
