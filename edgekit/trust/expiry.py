"""How long signatures last, and the error when they no longer do. Reads no clock."""

from dataclasses import dataclass
from datetime import timedelta

from edgekit.errors import TrustError
from edgekit.trust.layout import ROOT, SNAPSHOT, TIMESTAMP


class ExpiredError(TrustError):
    """Rightly signed, but past its date, or the clock is wrong.

    What follows is policy: keep serving and flag it, refuse new models, or stop.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long after signing each role's metadata expires.

    Devices sleep for months, so roles whose keys lie offline live a year. Freshness is
    the short-lived roles' promise: a broker can hide a release for at most that long.
    """

    root: timedelta = timedelta(days=365)
    targets: timedelta = timedelta(days=365)  # targets, models and the stages
    snapshot: timedelta = timedelta(days=30)
    timestamp: timedelta = timedelta(days=30)

    def of(self, role: str) -> timedelta:
        """Return the lifetime of a role's metadata."""
        named = {ROOT: self.root, SNAPSHOT: self.snapshot, TIMESTAMP: self.timestamp}
        return named.get(role, self.targets)


DEFAULT_LIFETIMES = Lifetimes()
