"""Start a fleet's trust: make a key for every role, and the repository they sign.

Knows no fleet.toml; `edgekit init` calls it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from edgekit.trust.expiry import DEFAULT_LIFETIMES, Lifetimes
from edgekit.trust.keys import KeyFile, KeyFolder
from edgekit.trust.layout import ROOT, TARGETS
from edgekit.trust.repository import ONLINE_ROLES, Repository
from edgekit.trust.roles import RoleKeys, role_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """How many keys a role gets, and how many of them must sign."""

    keys: int = 1
    threshold: int = 1


ONE_KEY = Quorum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """The repository, and the key files made for it."""

    repository: Repository
    keys: tuple[KeyFile, ...]

    @property
    def to_take_offline(self) -> tuple[KeyFile, ...]:
        """The keys that no release needs: who steals them can replace all others."""
        return tuple(key for key in self.keys if key.role in {ROOT, TARGETS})

    @property
    def online(self) -> tuple[KeyFile, ...]:
        """The keys that must stay at hand to keep the repository fresh."""
        return tuple(key for key in self.keys if key.role in ONLINE_ROLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What a fleet is founded with; roles not in `quorums` get one key."""

    fleet: str
    stages: Sequence[str]
    quorums: Mapping[str, Quorum] = field(default_factory=dict)
    lifetimes: Lifetimes = DEFAULT_LIFETIMES


def found(
    foundation: Foundation,
    *,
    keys_folder: Path,
    repository_folder: Path,
    passphrase: str,
    now: datetime,
) -> Founded:
    """Make keys and repository, or raise ConfigError or StoreError."""
    folder = KeyFolder(keys_folder)
    stages = tuple(foundation.stages)
    made: dict[str, tuple[KeyFile, ...]] = {}
    for role in role_names(stages):
        count = foundation.quorums.get(role, ONE_KEY).keys
        made[role] = tuple(
            folder.generate(role, passphrase=passphrase) for _ in range(count)
        )
    files = tuple(file for group in made.values() for file in group)
    repository = Repository.create(
        repository_folder,
        fleet=foundation.fleet,
        stages=stages,
        keys={
            role: RoleKeys(
                keys=tuple(file.key for file in group),
                threshold=foundation.quorums.get(role, ONE_KEY).threshold,
            )
            for role, group in made.items()
        },
        signers=folder.signers(passphrase),
        now=now,
        lifetimes=foundation.lifetimes,
    )
    return Founded(repository=repository, keys=files)
