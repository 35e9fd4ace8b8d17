"""The device's own programs that are asked before and told after a change: their words.

Only names and what is remembered of a run; edgekit_agent.rules.asking decides what an
answer means, edgekit_agent.supervision.hook runs the program. docs/hooks.md is the page.
"""

from dataclasses import dataclass
from enum import StrEnum

MAX_OUTPUT_CHARS = 1_000


class Hook(StrEnum):
    """When a program is run; also the name of its file."""

    PRE_ACTIVATE = "pre-activate"  # proven, about to serve: may it?
    POST_ACTIVATE = "post-activate"  # it serves: is the device well?
    POST_ROLLBACK = "post-rollback"  # the agent went back by itself; nothing is asked


class Answer(StrEnum):
    """What its end means."""

    GO = "go"  # exit code 0, or there is no such program
    NOT_NOW = "not-now"  # exit code 21
    FAILED = "failed"  # any other exit code
    BROKE = "broke"  # no answer: it hung, was killed, or cannot be run


@dataclass(frozen=True, slots=True, kw_only=True)
class HookRun:
    """The last run of a hook: the end of what it printed, how long it took, when (UTC)."""

    hook: Hook
    answer: Answer
    output: str
    took_ms: int
    at: str

    def to_table(self, output_chars: int = MAX_OUTPUT_CHARS) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "hook": self.hook.value,
            "answer": self.answer.value,
            "output": self.output[-output_chars:],
            "took_ms": self.took_ms,
            "at": self.at,
        }
