"""Found a fleet: keys, a signed empty repository and fleet.toml.

Knows no prompts. Everything is made beside the folder and moved into it at the end,
fleet.toml last: without it no command takes the folder for a fleet.
"""

import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgekit.atomic import sync_folder
from edgekit.errors import ConfigError, StoreError
from edgekit.fleet import config
from edgekit.fleet.config import FleetConfig
from edgekit.registry.uri import STAGES, Selector, SelectorKind
from edgekit.trust.keys import KeyFolder
from edgekit.trust.layout import ROOT
from edgekit.trust.repository import Repository
from edgekit.trust.roles import RoleKeys, role_names


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPolicy:
    """How many root keys there are, and how many of them must sign a change of keys."""

    keys: int
    threshold: int

    def __post_init__(self) -> None:
        """Refuse what could never be signed."""
        if not 1 <= self.threshold <= self.keys:
            raise ConfigError(
                f"root: a threshold of {self.threshold} with {self.keys} keys; a number"
                f" from 1 to {self.keys} is expected"
            )


def default_selector(stage: str) -> Selector:
    """Return the MLflow stage of the same name, else the alias of the same name."""
    for known in STAGES:
        if known.lower() == stage.lower():
            return Selector(kind=SelectorKind.STAGE, name=known)
    return Selector(kind=SelectorKind.ALIAS, name=stage)


def found(
    folder: Path,
    fleet: FleetConfig,
    *,
    root: RootPolicy,
    passphrase: str,
    now: datetime,
) -> None:
    """Make a fleet folder; ConfigError when there is something in it already."""
    refuse_occupied(folder)
    place = folder.resolve()
    try:
        place.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
        try:
            _fill(beside, fleet, root, passphrase, now)
            for made in sorted(beside.iterdir(), key=_fleet_toml_last):
                made.rename(place / made.name)
            sync_folder(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}") from error


def _fleet_toml_last(path: Path) -> bool:
    return path.name == config.FILE_NAME


def _fill(
    folder: Path, fleet: FleetConfig, root: RootPolicy, passphrase: str, now: datetime
) -> None:
    keys = KeyFolder(folder / "keys")
    stages = tuple(fleet.stages)
    named = {}
    for role in role_names(stages):
        count, threshold = (root.keys, root.threshold) if role == ROOT else (1, 1)
        made = [keys.generate(role, passphrase=passphrase).key for _ in range(count)]
        named[role] = RoleKeys(keys=tuple(made), threshold=threshold)
    Repository.create(
        folder / "repository",
        fleet=fleet.fleet,
        stages=stages,
        keys=named,
        signers=keys.signers(passphrase),
        now=now,
    )
    config.write(folder, fleet)


def refuse_occupied(folder: Path) -> None:
    """Raise ConfigError when there is something in a folder already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: not empty; a new or empty folder is expected")
