"""One device under attack, and what every refusal must leave as it was.

The trust folder is judged by python-tuf's metadata types alone, and whether the old model
goes on serving by the agent's own rules.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.serialization import DeserializationError

from edgekit.errors import EdgekitError, TrustError
from edgekit.trust.client import TrustClient, Vouched
from edgekit.trust.floor import Floor
from edgekit.trust.limits import DEFAULT_LIMITS, Limits
from edgekit.trust.payload import Metadata, Root, Targets
from edgekit.trust.source import MetadataSource
from edgekit_agent.rules.events import Announced, UpdateFailed
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.rules.state import ModelState, Moment, Policy
from edgekit_agent.rules.step import step
from tests.trust.simulator import NOW, TOP, digest

# For attacks that are found out after some rightly signed news was taken in.
ANYTHING_SIGNED = (
    "floor.json",
    *(f"metadata/{role}.json" for role in ("timestamp", "snapshot", "targets", "models")),
    *(f"metadata/stage-{stage}.json" for stage in ("production", "staging")),
    *(f"metadata/root_history/{version}.root.json" for version in range(1, 100)),
)
SERVED = Release(version="1", flavor="fp32", sha256=digest("served"), rollout=1)


@dataclass
class Device:
    """One device: its folder, its clock, and the source it happens to be connected to."""

    folder: Path
    root: bytes
    source: MetadataSource
    now: datetime = NOW
    limits: Limits = DEFAULT_LIMITS
    believe_clock: bool = True

    def client(self) -> TrustClient:
        return TrustClient(
            self.folder,
            self.root,
            self.source,
            self.now,
            limits=self.limits,
            believe_clock=self.believe_clock,
            write=write,
        )

    def resolve(self, stage: str = "production", model: str = "wine") -> Vouched | None:
        """Look with a fresh client, as every run of the updater does."""
        return self.client().resolve(stage=stage, model=model)

    def version(self, stage: str = "production") -> str | None:
        vouched = self.resolve(stage)
        return None if vouched is None else vouched.pointer.version

    def kept(self) -> dict[str, bytes]:
        """What lies in the folder, by relative path; root.json is a link nobody reads."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        }


def write(path: Path, data: bytes) -> None:
    """Keep a file without the syncs: what a power cut leaves is test_power_cut's."""
    path.write_bytes(data)


@contextlib.contextmanager
def refused(
    device: Device,
    reason: str,
    *,
    error: type[EdgekitError] = TrustError,
    may_change: tuple[str, ...] = (),
) -> Iterator[None]:
    """Assert a refusal that leaves the device's folder, and what it serves, as they were.

    `may_change` names files that rightly moved on before the refusal: what was written
    then is rightly signed.
    """
    before = device.kept()
    with pytest.raises(error, match=reason) as caught:
        yield
    after = device.kept()
    changed = {n for n in before.keys() | after if before.get(n) != after.get(n)}
    assert changed <= set(may_change)
    for name in changed & set(after):
        assert rightly_signed(name, after), f"{name}: kept, and not rightly signed"
    serves_on(caught.value)


def serves_on(error: EdgekitError) -> None:
    """Assert that an agent which is told this goes on with what it serves, at rest."""
    record = Record(model="wine", stage="production", phase=Phase.SERVING, current=SERVED)
    serving = ModelState(record=record, online=True, loaded=SERVED.sha256)
    at = Moment(s=1.0, utc="2026-06-01T00:00:00Z")
    checking = step(serving, Announced(), at, Policy()).state
    assert checking.record.phase is Phase.CHECKING
    told = UpdateFailed(error=type(error).__name__, reason=str(error))
    after = step(checking, told, at, Policy())
    assert after.actions == (), "nothing is loaded, fetched or deleted"
    assert after.state.record.phase is Phase.SERVING
    assert (after.state.record.current, after.state.loaded) == (SERVED, SERVED.sha256)
    assert after.state.record.trouble is not None
    assert after.state.record.trouble.reason == str(error)


def rightly_signed(name: str, kept: dict[str, bytes]) -> bool:
    """Whether a kept file is signed by the keys that the kept roots name for it."""
    if name == "floor.json":
        return bool(Floor.from_json(kept[name]).fleet)
    role = Path(name).stem
    try:
        root = _newest_root(kept)
        if "root_history" in name:  # the walk to the newest has verified each
            return int(role.split(".")[0]) <= root.version
        if role in TOP:
            _verify(root, role, kept[name])
        else:
            targets = Metadata[Targets].from_bytes(kept["metadata/targets.json"]).signed
            _verify(targets, role, kept[name])
    except (RepositoryError, DeserializationError):
        return False
    return True


def _newest_root(kept: dict[str, bytes]) -> Root:
    """Walk the kept roots, each signed by the one before it and by itself."""
    history = "metadata/root_history/{}.root.json"
    version = min(int(Path(n).stem.split(".")[0]) for n in kept if "root_history" in n)
    root = Metadata[Root].from_bytes(kept[history.format(version)]).signed
    while (name := history.format(version + 1)) in kept:
        _verify(root, "root", kept[name])
        root = Metadata[Root].from_bytes(kept[name]).signed
        _verify(root, "root", kept[name])
        version += 1
    return root


def _verify(delegator: Root | Targets, role: str, data: bytes) -> None:
    metadata = Metadata.from_bytes(data)
    delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
