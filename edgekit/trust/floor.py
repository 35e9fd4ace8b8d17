"""What was accepted before, below which nothing is accepted again.

Knows no TUF, files or clock: frozen values, JSON bytes in and out. python-tuf keeps this
knowledge only in the last metadata files it stored; a zeroed file after a power cut would
lose it. A floor is kept beside them and lifted only by signatures: when a key that could
have signed the recorded value is no longer trusted (recovery after a stolen key ran a
version, a rollout number or the time far ahead; TUF specification 5.3.11).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from edgekit.document import Reader, canonical_json
from edgekit.errors import TrustError
from edgekit.trust.layout import ROOT, TIME_FORMAT

FORMAT = 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: object, *, subject: str) -> datetime:
    """Return the time that `text` names, or raise TrustError."""
    try:
        return datetime.strptime(str(text), TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise TrustError(
            f"{subject}: {text!r}, a time such as 2026-01-01T00:00:00Z is expected"
        ) from error


def older(subject: str, offered: str, known: str) -> TrustError:
    """Return the error for what was rightly signed, and superseded since."""
    return TrustError(
        f"{subject}: {offered}, older than {known}: a replay, or a depot restored from an"
        " old backup"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutFloor:
    """The last accepted rollout number of one pointer, and who could have signed it."""

    rollout: int
    keyids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The highest signed time, versions and rollout numbers accepted so far.

    `fresh_until` is when the first signature expires of those that the last refresh
    accepted, None before the first: what is newest is known until then, and no longer.
    """

    fleet: str
    issued: datetime = EPOCH
    fresh_until: datetime | None = None
    online_keyids: frozenset[str] = frozenset()  # who could sign versions and times
    versions: Mapping[str, int] = field(default_factory=dict)
    rollouts: Mapping[str, RolloutFloor] = field(default_factory=dict)  # by pointer path

    def under_root(self, version: int, online_keyids: frozenset[str]) -> "Floor":
        """Return the floor under a root, or raise TrustError when the root is older.

        The versions and the time fall with any online key that the root revoked.
        """
        self._refuse_below(ROOT, version)
        if self.online_keyids <= online_keyids:
            versions = {**self.versions, ROOT: version}
            return replace(self, online_keyids=online_keyids, versions=versions)
        return replace(
            self,
            issued=EPOCH,
            fresh_until=None,
            online_keyids=online_keyids,
            versions={ROOT: version},
        )

    def with_versions(self, versions: Mapping[str, int]) -> "Floor":
        """Return the floor raised to these versions, or raise TrustError."""
        for role, version in versions.items():
            self._refuse_below(role, version)
        return replace(self, versions={**self.versions, **versions})

    def with_issued(self, issued: datetime) -> "Floor":
        """Return the floor raised to a signed time; an earlier one changes nothing."""
        return replace(self, issued=max(self.issued, issued))

    def with_freshness(self, until: datetime) -> "Floor":
        """Return the floor after a refresh whose first signature expires then."""
        return replace(self, fresh_until=until)

    def is_stale(self, now: datetime) -> bool:
        """Whether it can no longer be known what is newest: past that date, at least.

        A clock that runs behind is not believed below the latest signed time; one that
        runs ahead cannot be told from time that has passed.
        """
        return self.fresh_until is not None and max(now, self.issued) >= self.fresh_until

    def with_rollout(self, path: str, rollout: int, keyids: frozenset[str]) -> "Floor":
        """Return the floor raised to a pointer's rollout number, or raise TrustError."""
        last = self.rollouts.get(path)
        if last is not None and last.keyids <= keyids and rollout < last.rollout:
            known = f"rollout {last.rollout} accepted before"
            raise older(path, f"rollout {rollout}", known)
        rollouts = {**self.rollouts, path: RolloutFloor(rollout=rollout, keyids=keyids)}
        return replace(self, rollouts=rollouts)

    def _refuse_below(self, role: str, version: int) -> None:
        last = self.versions.get(role, 0)
        if version < last:
            raise older(role, f"version {version}", f"version {last} accepted before")

    def to_json(self) -> bytes:
        """Encode canonically."""
        return canonical_json(
            {
                "format": FORMAT,
                "fleet": self.fleet,
                "issued": self.issued.strftime(TIME_FORMAT),
                "fresh_until": self.fresh_until and self.fresh_until.strftime(TIME_FORMAT),
                "online_keys": sorted(self.online_keyids),
                "versions": dict(self.versions),
                "rollouts": {
                    path: {"rollout": last.rollout, "keys": sorted(last.keyids)}
                    for path, last in self.rollouts.items()
                },
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> "Floor":
        """Parse, or raise TrustError."""
        reader = Reader.from_json(data, subject="floor", error=TrustError)
        versions = reader.child("versions")
        return cls(
            fleet=reader.text("fleet"),
            issued=parse_time(reader.text("issued"), subject="floor: issued"),
            fresh_until=_optional_time(reader),
            online_keyids=frozenset(reader.texts("online_keys")),
            versions={role: versions.integer(role) for role in versions.table},
            rollouts={
                path: RolloutFloor(
                    rollout=entry.integer("rollout"),
                    keyids=frozenset(entry.texts("keys")),
                )
                for path, entry in reader.named("rollouts").items()
            },
        )


def _optional_time(reader: Reader) -> datetime | None:
    if not reader.has("fresh_until"):
        return None
    return parse_time(reader.text("fresh_until"), subject="floor: fresh_until")
