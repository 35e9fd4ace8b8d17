"""Cut telemetry into windows, keep them, and send them until the fleet has them.

Knows no process: what was counted is handed over. A window is on the disk before it is
sent, and is deleted when the fleet says that it has it. What is counted is asked of the
worker once a minute at least: so much is lost when it, or this process, is killed.
"""

import logging
from dataclasses import replace

from edgekit.errors import StoreError, TransportError
from edgekit.telemetry.refusals import Reason, RefusalCounter, Refusals, added
from edgekit.telemetry.taken import Taken, digest
from edgekit.telemetry.window import Health, Window
from edgekit.transport import Transport
from edgekit.wire import Topics
from edgekit_agent.config import Config
from edgekit_agent.rules.backlog import (
    MOST_IN_FLIGHT,
    UNSENT,
    Delivery,
    Entry,
    next_to_send,
)
from edgekit_agent.rules.budget import Budget
from edgekit_agent.rules.state import Moment
from edgekit_agent.storage.spool import Spool, encode
from edgekit_agent.storage.window_file import CorruptError
from edgekit_agent.supervision.attendant import Stats

log = logging.getLogger(__name__)

CHECKPOINT_S = 60  # what a kill loses at most
_OVERHEAD_BYTES = 40  # of MQTT, TCP and IP around a payload and its topic


class Telemetry:
    """The windows of one life of the agent, and those that earlier ones left.

    Used by one thread. Nothing here raises for a full disk or a broker that is gone.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        spool: Spool,
        boot_id: str,
        *,
        refusals: RefusalCounter,
    ) -> None:
        self._config = config
        self._transport = transport
        self._topic = Topics(fleet=config.fleet).telemetry(config.device)
        self._spool = spool
        self._boot_id = boot_id
        self._refusals = refusals  # of this process; the worker tells its own
        self._dropped = 0  # messages that the transport had dropped when it was asked last
        self._checkpoint_s = min(config.telemetry_interval_s, CHECKPOINT_S)
        self._sealed = 0  # windows of this life
        self._start = ""  # of the window that is being counted
        self._asked_s = 0.0
        self._opened_s: float | None = None  # the last entry still takes more in, since
        self._unwritten: Window | None = None  # the disk refused it
        self._deliveries: dict[int, Delivery] = {}
        self._budget = Budget.begin(0, 0.0)
        self._connected = False
        self._warned = False  # of messages that were to be acknowledgements, and are none
        self._short = False  # something is due, and the budget does not allow it

    def begin(self, at: Moment) -> None:
        """Find what earlier lives left, and start the first window."""
        self._budget = Budget.begin(self._config.telemetry_bytes_a_day, at.s)
        self._start, self._asked_s = at.utc, at.s
        try:
            self._spool.open()
        except StoreError as error:
            log.warning("telemetry of earlier starts cannot be read: %s", error)

    def due(self, at: Moment) -> bool:
        """Whether it is time to ask what was counted; then it is for a while not."""
        if at.s < self._asked_s + self._checkpoint_s:
            return False
        self._asked_s = at.s
        return True

    def counted(self, stats: Stats, health: Health, at: Moment) -> Window:
        """Keep what was counted since the last time; return it as a window."""
        self._sealed += 1
        lost = self._spool.take_losses()
        window = Window(
            device=self._config.device,
            boot_id=self._boot_id,
            first=self._sealed,
            last=self._sealed,
            start=self._start,
            end=at.utc,
            health=health,
            dropped=lost.dropped,
            corrupt=lost.corrupt,
            refused=lost.refused,
            bundles=tuple(sorted(stats.bundles, key=lambda one: (one.model, one.sha256))),
            refusals=added(stats.refusals, self._refused_here()),
        )
        self._start = at.utc
        self._keep(window, at)
        return window

    def tick(self, at: Moment) -> None:
        """Send what is due, as far as the budget goes."""
        if not self._connected:
            return
        self._budget = self._budget.at(at.s)
        while (entry := self._next(at)) is not None:
            if not self._send(entry, at):
                return

    def connected(self, at: Moment) -> None:
        """Send at once what is not known to have arrived."""
        self._connected = True
        self._deliveries = {
            number: replace(delivery, due_s=at.s)
            for number, delivery in self._deliveries.items()
        }
        self.tick(at)

    def disconnected(self) -> None:
        """Send nothing until the broker is back."""
        self._connected = False

    def taken(self, payload: bytes) -> None:
        """Forget what the fleet has, and what it says that it can never count.

        Whoever lies about it costs telemetry, no model.
        """
        try:
            taken = Taken.decode(payload)
        except TransportError as error:
            self._refusals.add(Reason.BROKER_TAKEN)
            level, self._warned = logging.DEBUG if self._warned else logging.WARNING, True
            log.log(level, "refused: %s", error)
            return
        for entry in self._spool.entries:
            if entry.sent:
                self._answer(entry, taken)

    def _answer(self, entry: Entry, taken: Taken) -> None:
        """Forget a window that the fleet has; of one that it refuses, keep the word."""
        try:
            sha256 = digest(self._spool.payload(entry)) if taken.by_digest else ""
            if _in(entry, taken) or sha256 in taken.unread:
                self._spool.remove(entry)
            elif sha256 in taken.refused:
                self._spool.refuse(entry, self._config.device)
                which = f"windows {entry.first} to {entry.last} of {entry.boot_id}"
                reason = taken.refused[sha256]
                log.warning("telemetry: %s never count in the fleet: %s", which, reason)
            else:
                return
        except StoreError as error:  # it is sent, and answered, again
            log.warning("telemetry: %s", error)
            return
        self._deliveries.pop(entry.number, None)

    def _refused_here(self) -> Refusals:
        dropped, self._dropped = self._dropped, self._transport.dropped
        self._refusals.add(Reason.BROKER_DROPPED, self._dropped - dropped)
        return self._refusals.take()

    def _keep(self, window: Window, at: Moment) -> None:
        if self._unwritten is not None:
            window, self._unwritten = self._unwritten.merged(window), None
        try:
            self._write(window, at)
        except StoreError as error:
            log.warning("telemetry is kept in memory: %s", error)
            self._unwritten = window

    def _write(self, window: Window, at: Moment) -> None:
        entries = self._spool.entries
        last = entries[-1] if entries else None
        grows = self._opened_s is not None or self._short
        follows = last is not None and last.precedes(window.boot_id, window.first)
        if last is not None and grows and follows and not last.sent:
            self._spool.extend(last, window)
        elif self._goes_at_once(window, at):
            self._deliver(self._spool.add(window, sent=True), encode(window), at)
        else:
            self._spool.add(window, sent=False)
        self._close_when_over(at)

    def _close_when_over(self, at: Moment) -> None:
        """Let the last entry take more in until the interval is over."""
        if self._config.telemetry_interval_s <= self._checkpoint_s:
            return
        if self._opened_s is None:
            self._opened_s = at.s - self._checkpoint_s
        if at.s >= self._opened_s + self._config.telemetry_interval_s:
            self._opened_s = None

    def _goes_at_once(self, window: Window, at: Moment) -> bool:
        """Whether it can be written as sent: a rename, and an fsync, less."""
        entries = self._spool.entries
        if not self._connected or self._config.telemetry_interval_s > self._checkpoint_s:
            return False
        if len(entries) >= MOST_IN_FLIGHT or any(not entry.sent for entry in entries):
            return False
        self._budget = self._budget.at(at.s)
        return self._budget.affords(self._cost(len(encode(window))))

    def _next(self, at: Moment) -> Entry | None:
        entries = self._spool.entries
        if self._opened_s is not None:
            entries = entries[:-1]
        return next_to_send(entries, self._deliveries, at.s)

    def _send(self, entry: Entry, at: Moment) -> bool:
        """Send one window; False where nothing more can be sent now."""
        self._short = not self._budget.affords(self._cost(entry.payload_bytes))
        if self._short:
            return False
        try:
            payload = self._spool.payload(entry)
            marked = entry if entry.sent else self._spool.mark_sent(entry)
        except CorruptError as error:
            log.warning("a telemetry window is lost: %s", error)
            self._spool.discard_corrupt(entry)
            return True
        except StoreError as error:  # it could be merged, and be counted twice
            log.warning("telemetry is not sent: %s", error)
            return False
        return self._deliver(marked, payload, at)

    def _deliver(self, entry: Entry, payload: bytes, at: Moment) -> bool:
        delivery = self._deliveries.get(entry.number, UNSENT)
        self._deliveries[entry.number] = delivery.again(at.s)
        self._budget = self._budget.spend(self._cost(len(payload)))
        try:
            self._transport.publish(self._topic, payload)
        except TransportError as error:
            log.warning("not reported: %s", error)
            return False
        return True

    def _cost(self, payload_bytes: int) -> int:
        return payload_bytes + len(self._topic) + _OVERHEAD_BYTES


def _in(entry: Entry, taken: Taken) -> bool:
    return entry.boot_id == taken.boot_id and any(
        first <= entry.first and entry.last <= last for first, last in taken.windows
    )
