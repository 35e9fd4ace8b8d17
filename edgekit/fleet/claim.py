"""Which book takes a fleet's telemetry: one, as a retained message of the broker says.

A device forgets what one book has acknowledged, so a second book would miss it for ever,
and neither would know. Whoever answers devices therefore claims the fleet first. Pure: time
is an argument, and what is to be published, retained, is returned. Claims are not signed:
they keep honest operators from losing counts, not a broker that lies.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from edgekit.document import Reader, canonical_json
from edgekit.errors import ConfigError, TransportError

log = logging.getLogger(__name__)

ASK_S = 1.0  # for the broker to tell of an earlier claim
OBJECT_S = 2.0  # for whoever holds the fleet to say so
ECHO_S = 10.0  # for the broker to give back what was published
_MAX_BYTES = 4_096
_MAX_CHARACTERS = 300


class ClaimedError(ConfigError):
    """Another book takes this fleet's telemetry.

    `displaced` is its claim where ours took its place at the broker, to be put back: empty
    where it stands.
    """

    displaced: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One claim as it travels. `token` is known to the book that made it, and its copies.

    `who` and `at` (UTC) are for people; `take_over`: whoever holds the fleet is to yield.
    `against` is the token of a claim that this one objects to, made by a book that does
    not know it: so a copy is told that knows all tokens of the book it was copied from.
    """

    token: str
    who: str
    at: str
    take_over: bool = False
    against: str = ""

    def encode(self) -> bytes:
        """Return the payload."""
        return canonical_json(
            {
                "token": self.token,
                "who": self.who,
                "at": self.at,
                "take_over": self.take_over,
                "against": self.against,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> "Said":
        """Parse, or raise TransportError."""
        if len(payload) > _MAX_BYTES:
            raise TransportError(f"claim: {len(payload)} bytes, {_MAX_BYTES} are expected")
        reader = Reader.from_json(payload, subject="claim", error=TransportError)
        return cls(
            token=_text(reader, "token"),
            who=_text(reader, "who"),
            at=_text(reader, "at"),
            take_over=reader.flag("take_over", default=False),
            against=_text(reader, "against"),
        )


class _Stage(Enum):
    ASKING = "asking"  # what the broker kept is waited for
    CLAIMING = "claiming"  # ours is under way
    SETTLING = "settling"  # ours came back; an objection may still come
    HELD = "held"


class Claim:
    """One listener's claim, from its start to its end. Used by one thread.

    `ours` says whether a token is known to this listener's book.
    """

    def __init__(self, mine: Said, *, ours: Callable[[str], bool], now_s: float) -> None:
        self._mine = mine
        self._ours = ours
        self._stage = _Stage.ASKING
        self._since_s = now_s

    @property
    def held(self) -> bool:
        """Whether devices may be answered."""
        return self._stage is _Stage.HELD

    def connected(self, now_s: float) -> None:
        """Ask anew: another may have claimed the fleet while the broker was away."""
        self._enter(_Stage.ASKING, now_s)

    def tick(self, now_s: float) -> bytes | None:
        """Return what to publish now, if anything."""
        waited_s = now_s - self._since_s
        if self._stage is _Stage.ASKING and waited_s >= ASK_S:
            self._enter(_Stage.CLAIMING, now_s)
            return self._mine.encode()
        if self._stage is _Stage.SETTLING and waited_s >= OBJECT_S:
            self._hold(now_s)
        if self._stage is _Stage.CLAIMING and waited_s >= ECHO_S:
            log.warning(
                "telemetry: the broker keeps no claim, so that a second `edgekit fleet"
                " watch` with a book of its own would not be noticed; its access rules must"
                " let the operator write and read the fleet's topic `book`"
            )
            self._hold(now_s)
        return None

    def heard(
        self, payload: bytes, now_s: float, *, retained: bool = False
    ) -> bytes | None:
        """Take what the broker says; return what to publish. ClaimedError: to yield.

        `retained`: the broker had kept it, so it was said before ours, however late it is.
        """
        try:
            said = Said.decode(payload)
        except TransportError as error:
            if payload:
                log.warning("%s", error)
            return None
        if said.token == self._mine.token:
            if self._stage is _Stage.CLAIMING:
                self._enter(_Stage.SETTLING, now_s)
            return None
        if self._ours(said.token) and not self._ours(said.against):
            return None  # another listener with this very book
        return self._foreign(said, kept=payload if retained else b"")

    def _foreign(self, said: Said, *, kept: bytes) -> bytes | None:
        """Heed another book's claim; `kept` is its payload where the broker had kept it."""
        taking_over = self._mine.take_over
        match self._stage:
            case _Stage.ASKING if taking_over:
                return None
            case _Stage.CLAIMING | _Stage.SETTLING if kept and taking_over:
                return None
            case _Stage.CLAIMING | _Stage.SETTLING if kept:  # over a slow line
                raise _claimed(said, displaced=kept)
            case _Stage.CLAIMING if not said.against:
                return None  # ours comes after it, and stands
            case _Stage.HELD if not (said.take_over or self._ours(said.against)):
                return replace(self._mine, against=said.token).encode()
            case _:
                raise _claimed(said)

    def _hold(self, now_s: float) -> None:
        self._mine = replace(self._mine, take_over=False)  # once
        self._enter(_Stage.HELD, now_s)

    def _enter(self, stage: _Stage, now_s: float) -> None:
        self._stage, self._since_s = stage, now_s


def _claimed(said: Said, *, displaced: bytes = b"") -> ClaimedError:
    error = ClaimedError(
        f"telemetry: another book has it, of {said.who} since {said.at}; one book for each"
        " fleet is expected: run `edgekit fleet watch` only there, or have it here from now"
        " on with --take-over"
    )
    error.displaced = displaced
    return error


def _text(reader: Reader, key: str) -> str:
    text = reader.text(key)
    if len(text) > _MAX_CHARACTERS or not text.isprintable():
        reader.fail(key, f"a printable text of up to {_MAX_CHARACTERS} characters")
    return text
