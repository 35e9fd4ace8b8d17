"""Decide which retained messages to read back, and which the broker has not kept.

A broker's acknowledgement does not say that a message is retained: a cluster that was
electing a leader acknowledges, and keeps the one before. So what was published is doubted
until the broker has given it back. Knows no sockets or files; time is an argument.

Nothing is read for ever: a doubt ends when the message comes back as it was published, or
after `most_attempts`, each later than the one before. A broker that gives nothing back at
all forbids to read, most likely; two attempts are all it gets.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, islice

_WHEN_NOTHING_COMES = 2  # attempts, where the broker has never given anything back


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadbackRules:
    """How soon, how often, and how much at a time."""

    settle_s: float = 2.0  # between publishing and reading; doubles with each attempt
    answer_s: float = 10.0  # what has not come for so long does not come
    most_attempts: int = 6
    most_asked: int = 32  # at once: far below what brokers let a session subscribe to
    every_s: float = 900.0  # so often some are doubted that were there once


class Answer(Enum):
    """What a retained message tells."""

    UNASKED = auto()
    KEPT = auto()
    OTHER = auto()  # not what was published: the broker has lost that


@dataclass(slots=True, kw_only=True)
class _Doubt:
    ask_at: float
    attempts: int = 0
    due_by: float | None = None  # None: not asked for


class Readback:
    """Retained messages by topic: what was published last, and what is doubted of it."""

    def __init__(self, rules: ReadbackRules | None = None) -> None:
        self._rules = rules or ReadbackRules()
        self._digests: dict[str, bytes] = {}
        self._doubts: dict[str, _Doubt] = {}
        self._turn = 0  # whose turn it is to be doubted without a reason
        self._patrol_at: float | None = None
        self._may_read = False

    @property
    def may_read(self) -> bool:
        """Whether the broker has given anything back yet."""
        return self._may_read

    def published(self, topic: str, payload: bytes, now: float) -> None:
        """Doubt that a message is retained which has just been published."""
        again = self._is_ours(topic, payload)
        doubt = self._doubts.get(topic)
        attempts = doubt.attempts if doubt is not None and again else 0
        self._digests[topic] = hashlib.sha256(payload).digest()
        wait_s = self._rules.settle_s * 2**attempts
        self._doubts[topic] = _Doubt(ask_at=now + wait_s, attempts=attempts)

    def cleared(self, topic: str) -> None:
        """Expect nothing on a topic any longer."""
        self._digests.pop(topic, None)
        self._doubts.pop(topic, None)

    def begin_anew(self) -> None:
        """Doubt nothing until it is published: a session has begun."""
        self._digests.clear()
        self._doubts.clear()

    def heard(self, topic: str, payload: bytes, now: float) -> None:
        """Doubt a topic on which somebody has published something else."""
        if topic in self._digests and not self._is_ours(topic, payload):
            self._doubts.setdefault(topic, _Doubt(ask_at=now + self._rules.settle_s))

    def due(self, now: float) -> tuple[str, ...]:
        """Return the topics to ask the broker for now, taking them as asked for."""
        self._patrol(now)
        asked = sum(1 for doubt in self._doubts.values() if doubt.due_by is not None)
        ripe = (
            topic
            for topic, doubt in self._doubts.items()
            if doubt.due_by is None and doubt.ask_at <= now
        )
        topics = tuple(islice(ripe, max(0, self._rules.most_asked - asked)))
        for topic in topics:
            self._doubts[topic].due_by = now + self._rules.answer_s
        return topics

    def answered(self, topic: str, payload: bytes) -> Answer:
        """Judge what the broker has kept; OTHER: publish it again, if lost() says so."""
        doubt = self._doubts.get(topic)
        if doubt is None or doubt.due_by is None:
            return Answer.UNASKED
        self._may_read = True
        if self._is_ours(topic, payload):
            del self._doubts[topic]
            return Answer.KEPT
        return Answer.OTHER

    def unanswered(self, now: float) -> tuple[str, ...]:
        """Return the topics asked for of which nothing came in time."""
        return tuple(
            topic
            for topic, doubt in self._doubts.items()
            if doubt.due_by is not None and doubt.due_by <= now
        )

    def lost(self, topic: str) -> bool:
        """Count an attempt; whether to publish again. False: it is given up for now."""
        doubt = self._doubts[topic]
        doubt.attempts += 1
        doubt.due_by = None
        most = self._rules.most_attempts if self._may_read else _WHEN_NOTHING_COMES
        if doubt.attempts > most:
            del self._doubts[topic]
            return False
        return True

    def _patrol(self, now: float) -> None:
        """Doubt, from time to time, the next of those that were there once."""
        if self._patrol_at is None or not self._digests:
            self._patrol_at = now + self._rules.every_s
        if now < self._patrol_at:
            return
        self._patrol_at = now + self._rules.every_s
        for topic in self._next(self._rules.most_asked):
            self._doubts.setdefault(topic, _Doubt(ask_at=now))

    def _next(self, number: int) -> Iterable[str]:
        topics = sorted(self._digests)
        self._turn %= len(topics)
        found = islice(chain(topics[self._turn :], topics), min(number, len(topics)))
        self._turn += number
        return tuple(found)

    def _is_ours(self, topic: str, payload: bytes) -> bool:
        return self._digests.get(topic) == hashlib.sha256(payload).digest()
