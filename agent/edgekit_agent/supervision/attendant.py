"""Keep a worker running, carry commands to it, and tell what becomes of it.

Knows the worker's lines; edgekit_agent.rules.watch decides when it is started and killed.
"""

import logging
import queue
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.document import Reader
from edgekit.errors import TransportError
from edgekit.telemetry import refusals
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.positional import Row
from edgekit.telemetry.refusals import Refusals
from edgekit_agent.rules.events import (
    Event,
    Loaded,
    LoadFailed,
    Started,
    WorkerDied,
    WorkerReady,
)
from edgekit_agent.rules.record import Release
from edgekit_agent.rules.watch import Condition, Order, Patience, Watch
from edgekit_agent.supervision.child import Child, Ended, News, Partner, Said
from edgekit_agent.supervision.lifeline import Death, Lifeline
from edgekit_agent.supervision.tenant import Tenant

log = logging.getLogger(__name__)

_AFTER_THE_OTHERS = 500  # of 1000, when memory runs out: updater and proof go first


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something happened to a model's serving; to every model's when `model` is None."""

    model: str | None
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What the worker counted since it was last asked.

    `refusals` are of what reached no model. `rss_bytes` is the size of its process, 0 where
    it has none of its own.
    """

    bundles: tuple[BundleCounts, ...] = ()
    refusals: Refusals = field(default_factory=dict)
    rss_bytes: int = 0


class Attendant:
    """One worker after another; `command` is a module and its arguments.

    With a `lifeline` the worker runs in this very process, and ends it when it ends.
    """

    def __init__(
        self,
        *command: str,
        inbox: queue.SimpleQueue[News],
        patience: Patience | None = None,
        lifeline: Lifeline | None = None,
    ) -> None:
        self._command = command
        self._inbox = inbox
        self._lifeline = lifeline
        self._patience = patience or Patience()
        self._watch = Watch()
        self._child: Partner | None = None
        self._killed_for = ""
        self._blamed = ""  # the bundle that it was killed for
        self._counted: list[BundleCounts] = []  # told, and not whole yet
        self.onnxruntime = ""

    @property
    def up(self) -> bool:
        """Whether the worker takes commands."""
        return self._watch.condition is Condition.UP

    @property
    def rss_bytes(self) -> int:
        """The worker's resident size, 0 without one."""
        return self._child.rss_bytes if self._child else 0

    def owns(self, child: Partner) -> bool:
        """Whether a process is the worker."""
        return child is self._child

    def begin(self, now_s: float) -> Started:
        """Start the first worker; tell how the last one took the agent with it, if so."""
        last = Death()
        if self._lifeline is not None:
            last = self._lifeline.begin()
            self._watch = Watch.after(last.deaths, now_s, self._patience)
        self.tick(now_s)
        if not last.why:
            return Started()
        log.warning("the agent's process ended while it served: %s", last.why)
        crash = f"the agent's process, which serves, ended: {last.why}"
        return Started(crash=crash, by=last.by)

    def hurry(self, now_s: float) -> None:
        """Start the next worker at once: what it will load is not what the last one had."""
        self._watch = self._watch.hurried(now_s)
        self.tick(now_s)

    def holds_up(self, now_s: float) -> bool:
        """Whether the worker runs in this process, and does not answer."""
        shared = self._lifeline is not None
        return shared and not self._watch.answering(now_s, self._patience)

    def tick(self, now_s: float) -> None:
        """Start, ask or kill the worker, where that is due."""
        if self._lifeline is not None and self._watch.calm(now_s, self._patience):
            self._lifeline.calm()
        self._watch, order = self._watch.due(now_s, self._patience)
        match order:
            case Order.START:
                self._start(now_s)
            case Order.PING:
                self._say(do="ping")
            case Order.KILL:
                self._killed_for = (
                    f"no sign of life, or of an end of loading ({self._watch.condition})"
                )
                self._kill()
            case None:
                pass

    def load(self, model: str, release: Release, now_s: float, *, overlap: bool) -> None:
        """Have a model loaded and served. Without a worker: its start will ask again.

        Without `overlap`, what serves is dropped first, and requests wait meanwhile.
        """
        if self.up:
            self._watch = self._watch.load_asked(now_s)
            self._say(
                do="load",
                model=model,
                version=release.version,
                flavor=release.flavor,
                sha256=release.sha256,
                overlap=overlap,
            )

    def write_recent(self, model: str, path: Path) -> None:
        """Have the worker write what was asked of a model lately to a file."""
        self._say(do="recent", model=model, path=str(path))

    def ask_stats(self) -> None:
        """Have the worker tell what it counted."""
        self._say(do="stats")

    def unload(self, model: str) -> None:
        """Have the worker answer no more for a model."""
        self._say(do="unload", model=model)

    def heard(self, news: News, now_s: float) -> Notice | Stats | None:
        """Return what the worker's news mean."""
        match news:
            case Ended(how=how):
                return self._died(how, now_s)
            case Said(document=document):
                self._watch = self._watch.heard(now_s)
                subject = "worker"
                said = Reader(table=document, subject=subject, error=TransportError)
                try:
                    return self._understand(said, now_s)
                except TransportError as error:
                    self._killed_for = str(error)
                    self._kill()
                    return None

    def stop(self, wait_s: float) -> None:
        """Let the worker answer what it is answering, then end it."""
        if self._child is not None:
            self._child.say(do="stop")
            self._child.wait(wait_s)
        if self._lifeline is not None:
            self._lifeline.leave()

    def _start(self, now_s: float) -> None:
        try:
            self._child = self._started()
        except OSError as error:
            log.error("worker: cannot be started: %s", error.strerror)  # noqa: TRY400 - no traceback for users
            self._watch = self._watch.died(now_s, self._patience)
            return
        log.info("worker: started, process %d", self._child.pid)

    def _started(self) -> Partner:
        if self._lifeline is not None:
            return Tenant(*self._command[1:], inbox=self._inbox)
        return Child(*self._command, inbox=self._inbox, expendable=_AFTER_THE_OTHERS)

    def _understand(self, said: Reader, now_s: float) -> Notice | Stats | None:
        match said.text("event"):
            case "ready":
                self._watch = self._watch.ready(now_s)
                self.onnxruntime = said.text("onnxruntime")
                return Notice(model=None, event=WorkerReady())
            case "loaded":
                self._watch = self._watch.load_ended(now_s)
                pause_ms = said.integer("pause_ms")
                event = Loaded(sha256=said.sha256("sha256"), pause_ms=pause_ms)
                took_ms, waited = said.integer("took_ms"), ""
                if pause_ms:
                    waited = f"; requests waited for {pause_ms} ms, memory is short"
                log.info("%s: loaded in %d ms%s", said.text("model"), took_ms, waited)
                return Notice(model=said.text("model"), event=event)
            case "load-failed":
                self._watch = self._watch.load_ended(now_s)
                return Notice(model=said.text("model"), event=_load_failed(said))
            case "counted":
                counts = Row.of(said.table.get("counts"), subject="worker: counted")
                self._counted.append(BundleCounts.from_row(counts))
            case "stats":
                counted, self._counted = tuple(self._counted), []
                apart = self._lifeline is None  # else the agent's own size holds it
                rss_bytes = said.integer("rss_bytes") if apart else 0
                told = Row.of(said.table.get("refusals"), subject="worker: stats")
                refused = refusals.parse(told)
                return Stats(bundles=counted, refusals=refused, rss_bytes=rss_bytes)
            case "pong" if "overdue" in said.table:
                overdue = said.child("overdue")
                self._killed_for = overdue.text("reason")
                self._blamed = overdue.sha256("sha256")
                self._kill()
        return None  # pong

    def _died(self, how: str, now_s: float) -> Notice:
        reason = f"the worker ended: {self._killed_for or how}"
        log.warning("%s", reason)
        event = WorkerDied(reason=reason, by=self._blamed)
        self._killed_for = self._blamed = ""
        self._child = None
        self._watch = self._watch.died(now_s, self._patience)
        return Notice(model=None, event=event)

    def _say(self, **command: object) -> None:
        if self._child is not None:
            self._child.say(**command)

    def _kill(self) -> None:
        if self._child is None:
            return
        if self._lifeline is not None:
            self._lifeline.note(self._killed_for, by=self._blamed)
        self._child.kill()


def _load_failed(said: Reader) -> LoadFailed:
    return LoadFailed(
        sha256=said.sha256("sha256"),
        error=said.text("error"),
        reason=said.text("reason"),
    )
