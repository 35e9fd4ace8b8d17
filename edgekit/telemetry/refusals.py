"""What a device refused before any model saw it: for which reason, and how often.

Whoever refuses names the reason; nothing of what was refused is kept. Rows that reach a
model are counted with it (edgekit.telemetry.counts). docs/formats/telemetry.md tells what
each reason stands for.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from enum import IntEnum
from typing import TypeAlias

from edgekit.telemetry.positional import Row

MAX_NUMBER = 255  # of a reason: one that a newer agent gives is counted, too

Refusals: TypeAlias = Mapping[int, int]
"""The number of a reason -> how often something was refused for it."""


class Reason(IntEnum):
    """Where something came in, and why it was refused there.

    The number travels: it is never given to another reason. The name is what people read.
    """

    HTTP_MALFORMED = 1
    HTTP_FOREIGN = 2
    HTTP_PATH = 3
    HTTP_MODEL = 4
    HTTP_METHOD = 5
    HTTP_SLOW = 6
    HTTP_LENGTH = 7
    HTTP_SIZE = 8
    HTTP_CONTENT = 9
    HTTP_VERSION = 10
    HTTP_EXCHANGE = 11
    HTTP_BUSY = 12
    ASK_RETAINED = 20
    ASK_BUSY = 21
    ASK_LATE = 22
    ASK_UNANSWERED = 23
    ASK_SIZE = 24
    BROKER_DROPPED = 30
    BROKER_TOPIC = 31
    BROKER_TAKEN = 32
    UPDATE_UNTRUSTED = 40
    UPDATE_CHUNK = 41

    @property
    def label(self) -> str:
        """The name as it is printed, such as http-path."""
        return self.name.lower().replace("_", "-")


class RefusalCounter:
    """Refusals since they were last taken. Any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (max(Reason) + 1)

    def add(self, reason: Reason, times: int = 1) -> None:
        """Count a refusal, or several."""
        with self._lock:
            self._counts[reason] += times

    def take(self) -> Refusals:
        """Return what was counted, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, [0] * len(self._counts)
        return {number: count for number, count in enumerate(counts) if count}


def added(one: Refusals, other: Refusals) -> Refusals:
    """Return the sum."""
    return Counter(one) + Counter(other)


def parse(row: Row) -> Refusals:
    """Return what a list of number, count ... says, or raise TransportError."""
    return row.counts(most=MAX_NUMBER)


def labelled(refusals: Refusals) -> dict[str, int]:
    """Return label -> count; a reason of a newer agent is called by its number."""
    known = {reason.value: reason.label for reason in Reason}
    ordered = sorted(refusals.items())
    return {known.get(number, f"reason-{number}"): count for number, count in ordered}
