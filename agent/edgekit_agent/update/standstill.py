"""Decide when a fetch that gets nowhere is given up for now, and say why.

Knows no sockets, files or clock: verdicts on arriving chunks go in, time is an argument.
A genuine chunk is a sign of life, needed or not; a spoiled one is none, however many come.
"""

from collections import Counter
from dataclasses import dataclass
from typing import assert_never

from edgekit_agent.update.receiver import Accepted, Ignored, Refused, Unsolved, Verdict

_NUMBERS_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """For how long a fetch bears to get nowhere, each since the last sign to the contrary.

    So the slowest link that finishes brings one chunk in `silent_s`, and one in
    `spoiled_s` while somebody spoils chunks.
    """

    spoiled_s: float = 15.0  # spoiled chunks came, and no genuine one
    silent_s: float = 60.0  # no chunk came at all
    stuck_s: float = 300.0  # chunks came, but none that is missing


class Standstill:
    """What came of a bundle of `chunks` chunks since the last good sign."""

    def __init__(self, *, chunks: int, patience: Patience, now: float) -> None:
        self.refused = 0  # since the beginning
        self._chunks = chunks
        self._patience = patience
        self._alive_at = now  # a genuine chunk
        self._new_at = now  # a missing chunk
        self._spoiled: Counter[int] = Counter()  # by number, since _alive_at
        self._foreign = 0  # not chunks of this bundle at all, since _alive_at

    def note(self, verdict: Verdict, now: float) -> None:
        """Take note of what became of an arriving chunk."""
        match verdict:
            case Refused(number=number):
                self._refuse(number)
            case Accepted() | Ignored():
                self._alive_at = now
                self._spoiled.clear()
                self._foreign = 0
            case Unsolved():
                pass  # whoever sent it
            case _:
                assert_never(verdict)
        if isinstance(verdict, Accepted):
            self._new_at = now

    def _refuse(self, number: int | None) -> None:
        self.refused += 1
        if number is None:
            self._foreign += 1
        else:
            self._spoiled[number] += 1

    def wait_s(self, now: float) -> float:
        """Return for how long the fetch goes on if nothing more comes."""
        return max(0.0, min(self._alive_at + self._lull_s, self._stuck_at) - now)

    def reason(self, now: float) -> str | None:
        """Return why the fetch is given up now, None when it is not."""
        if now >= self._alive_at + self._lull_s:
            return f"no genuine chunk for {self._lull_s:g} s{self._facts()}"
        if now >= self._stuck_at:
            return f"no missing chunk for {self._patience.stuck_s:g} s, only others"
        return None

    @property
    def _lull_s(self) -> float:
        came = self._spoiled or self._foreign
        return self._patience.spoiled_s if came else self._patience.silent_s

    @property
    def _stuck_at(self) -> float:
        return self._new_at + self._patience.stuck_s

    def _facts(self) -> str:
        facts = ""
        if self._spoiled:
            facts += (
                f"; {self._numbers()} of {self._chunks}:"
                f" {_messages(self._spoiled.total())} did not match the signed digest"
            )
        if self._foreign:
            facts += f"; {_messages(self._foreign)} held no chunk of this bundle"
        return facts or "; is the depot running, and has it the bundle?"

    def _numbers(self) -> str:
        numbers = sorted(self._spoiled)
        named = ", ".join(str(number) for number in numbers[:_NUMBERS_NAMED])
        more = len(numbers) - _NUMBERS_NAMED
        word = "chunk" if len(numbers) == 1 else "chunks"
        return f"{word} {named}" + (f" and {more} more" if more > 0 else "")


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"
