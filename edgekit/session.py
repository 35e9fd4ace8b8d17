"""What a session with a broker is told: its last will, its patience, its bounds."""

from dataclasses import dataclass, field

from edgekit.inbox import MAX_BYTES, MAX_MESSAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWill:
    """What the broker publishes for a client that vanished without a goodbye."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before a reconnection: doubling, with full jitter.

    Jitter keeps a fleet from returning in step to a broker that was just restarted.
    """

    first_s: float = 0.5
    most_s: float = 60.0

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the delay before attempt 0, 1, …; `chance` is drawn from [0, 1)."""
        bound = min(self.most_s, self.first_s * 2.0 ** min(attempt, 30))
        return bound * (0.1 + 0.9 * chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How a session waits, and how much it holds.

    `patient`: do not insist on the first connection, the broker may come up later.
    `queue_patience_s`: QoS 0 messages wait for a receiver that takes one so often.
    """

    queue_messages: int = MAX_MESSAGES
    queue_bytes: int = MAX_BYTES
    queue_patience_s: float = 0.0
    keepalive_s: int = 30
    connect_timeout_s: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)
    patient: bool = False
