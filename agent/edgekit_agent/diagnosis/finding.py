"""What one look found: a fact, and what a person can do. Knows nothing of how to look."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """What a finding means for updates."""

    OK = "ok"
    NOTE = "note"  # worth knowing; updates work all the same
    TROUBLE = "trouble"  # stands in the way of an update


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's: `advice` says what to do, "" where nothing is needed."""

    subject: str
    level: Level
    fact: str
    advice: str = ""

    def to_table(self) -> dict[str, str]:
        """Return the JSON object."""
        return {
            "subject": self.subject,
            "level": self.level.value,
            "fact": self.fact,
            "advice": self.advice,
        }


def fine(subject: str, fact: str) -> Finding:
    """Return a finding with which nothing is wrong."""
    return Finding(subject=subject, level=Level.OK, fact=fact)


def note(subject: str, fact: str, advice: str = "") -> Finding:
    """Return a finding that keeps no update away."""
    return Finding(subject=subject, level=Level.NOTE, fact=fact, advice=advice)


def trouble(subject: str, fact: str, advice: str) -> Finding:
    """Return a finding that stands in the way."""
    return Finding(subject=subject, level=Level.TROUBLE, fact=fact, advice=advice)
