"""Run updaters, proofs and hooks, one of each at a time: what they say becomes events.

Knows how these processes are started and what their lines mean; decides nothing.
"""

import logging
import queue
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from edgekit.document import Reader
from edgekit.errors import TransportError
from edgekit.figures import figures_from
from edgekit_agent.rules.events import (
    Event,
    Fetched,
    HookAnswered,
    NothingReleased,
    ProofBroke,
    ProofRefused,
    Proved,
    Resolved,
    UpdateFailed,
)
from edgekit_agent.rules.hook import Answer, Hook
from edgekit_agent.rules.record import release_from
from edgekit_agent.supervision.child import Child, Ended, News, Partner, Said

log = logging.getLogger(__name__)

_DAMAGED = "StoreError"
_FIRST_TO_DIE = 900  # of 1000, when memory runs out: before the worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A process to run for a model; `command` is a module and its arguments."""

    model: str
    sha256: str  # of the bundle it is about, "" before that is known
    command: tuple[str, ...]
    hook: Hook = Hook.PRE_ACTIVATE  # which one, where it is a hook

    @property
    def module(self) -> str:
        """What is run."""
        return self.command[0]


@dataclass(slots=True)
class _Running:
    job: Job
    child: Child
    heard_s: float
    concluded: bool = False


@dataclass(frozen=True, slots=True)
class Meaning:
    """The event that a line stands for, if any, and whether the process is done with it.

    `refused` chunks were no chunks of the bundle that was fetched.
    """

    event: Event | None
    last: bool = True
    refused: int = 0


@dataclass(slots=True)
class Slot:
    """Room for one process; the jobs that wait for it are started in order.

    `meaning` says what a job's line, or its silent end, stands for; it raises
    TransportError for a line that means nothing.
    """

    meaning: Callable[[Job, Reader | str], Meaning]
    inbox: queue.SimpleQueue[News]
    silent_s: float  # a process that says nothing for so long hangs
    pass_fds: Collection[int] = ()
    _running: _Running | None = None
    _waiting: deque[Job] = field(default_factory=deque)

    def submit(self, job: Job, now_s: float) -> None:
        """Run a job now, or when the one that runs has ended."""
        self._waiting.append(job)
        self._next(now_s)

    def tell(self, model: str, **document: object) -> None:
        """Say something to the process that runs for a model, if one does."""
        if self._running is not None and self._running.job.model == model:
            self._running.child.say(**document)

    def cancel(self, model: str) -> None:
        """End what runs or waits for a model; nothing more is heard of it."""
        self._waiting = deque(job for job in self._waiting if job.model != model)
        if self._running is not None and self._running.job.model == model:
            self._running.concluded = True
            self._running.child.kill()

    def stop(self) -> None:
        """End everything, now."""
        self._waiting.clear()
        if self._running is not None:
            self._running.child.hang_up()
            self._running.child.wait(1.0)

    def owns(self, child: Partner) -> bool:
        """Whether a process belongs here."""
        return self._running is not None and self._running.child is child

    def heard(self, news: News, now_s: float) -> tuple[Job, Reader | str] | None:
        """Return what a job said, or how it ended if it had not concluded."""
        running = self._running
        if running is None or news.child is not running.child:
            return None
        running.heard_s = now_s
        over = running.concluded
        match news:
            case Said(document=document):
                subject = running.job.module
                said: Reader | str = Reader(
                    table=document, subject=subject, error=TransportError
                )
            case Ended(how=how):
                said = how
                self._running = None
                self._next(now_s)
        return None if over else (running.job, said)

    def conclude(self) -> None:
        """Expect nothing more from what runs."""
        if self._running is not None:
            self._running.concluded = True

    def check(self, now_s: float) -> None:
        """Kill a process that hangs (its end is news); start one that could not be."""
        running = self._running
        if running is not None and now_s - running.heard_s > self.silent_s:
            log.warning("%s: silent for %.0f s, killed", running.job.module, self.silent_s)
            running.heard_s = now_s
            running.child.kill()
        self._next(now_s)

    def _next(self, now_s: float) -> None:
        if self._running is not None or not self._waiting:
            return
        job = self._waiting[0]
        try:
            child = Child(
                *job.command,
                inbox=self.inbox,
                expendable=_FIRST_TO_DIE,
                pass_fds=self.pass_fds,
            )
        except OSError as error:  # no process, no memory: the next check tries again
            log.warning("%s: cannot be started: %s", job.module, error.strerror)
            return
        self._waiting.popleft()
        self._running = _Running(job=job, child=child, heard_s=now_s)


def update_meaning(_job: Job, said: Reader | str) -> Meaning:
    """Return what an updater's line, or its silent end, means."""
    if isinstance(said, str):
        reason = f"the updater ended without an answer: {said}"
        return Meaning(UpdateFailed(error="UpdaterEnded", reason=reason))
    event = said.text("event")
    if event == "progress":
        return Meaning(None, last=False)
    if event == "refused":
        return Meaning(None, last=False, refused=said.integer("chunks"))
    return Meaning(_update_event(event, said), last=event != "resolved")


def _update_event(event: str, said: Reader) -> Event:
    match event:
        case "resolved":
            release = release_from(said.child("release"))
            return Resolved(release=release, stored=said.flag("stored"))
        case "nothing":
            return NothingReleased()
        case "fetched":
            return Fetched(sha256=said.sha256("sha256"))
        case "failed":
            return UpdateFailed(
                error=said.text("error"),
                reason=said.text("reason"),
                final=said.flag("final"),
            )
    return said.fail("event", "a known event")


def proof_meaning(job: Job, said: Reader | str) -> Meaning:
    """Return what a proof's line, or its silent end, means."""
    sha256 = job.sha256
    if isinstance(said, str):
        reason = f"the proof ended without a verdict: {said}"
        return Meaning(ProofBroke(sha256=sha256, error="ProofEnded", reason=reason))
    match said.text("event"):
        case "proved":
            return Meaning(Proved(sha256=sha256, figures=figures_from(said)))
        case "refused":
            error, reason = said.text("error"), said.text("reason")
            broke = ProofBroke if error == _DAMAGED else ProofRefused
            return Meaning(broke(sha256=sha256, error=error, reason=reason))
    return said.fail("event", "a known event")


def hook_meaning(job: Job, said: Reader | str) -> Meaning:
    """Return what a hook answered; its runner's silent end is no answer."""
    if isinstance(said, str):
        reason = f"{job.hook}: its run ended without an answer: {said}"
        broke = HookAnswered(
            hook=job.hook, sha256=job.sha256, answer=Answer.BROKE, reason=reason
        )
        return Meaning(broke)
    return Meaning(
        HookAnswered(
            hook=job.hook,
            sha256=job.sha256,
            answer=Answer(said.one_of("answer", Answer)),
            reason=said.text("reason"),
            again_s=said.integer("again_s"),
            output=said.text("output"),
            took_ms=said.integer("took_ms"),
        )
    )
