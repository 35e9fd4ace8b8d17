"""python-tuf's client with a guard, a reference time and durable files.

The one file that reaches into python-tuf's protected names; tests/trust/test_library.py
fails when a new version of it no longer has them. Knows no statements.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import BadVersionNumberError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from edgekit.trust.fetcher import BASE_URL, SourceFetcher
from edgekit.trust.guard import Guard
from edgekit.trust.layout import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from edgekit.trust.limits import Limits
from edgekit.trust.payload import Metadata, Signed, Targets
from edgekit.trust.replay import replayed
from edgekit.trust.shelf import WriteFile


class GuardedUpdater(Updater):
    """Refreshes one folder of metadata; nothing is written that the guard refuses."""

    def __init__(  # noqa: PLR0913 - the parts a client consists of
        self,
        folder: Path,
        *,
        root: bytes,
        fetcher: SourceFetcher,
        guard: Guard,
        limits: Limits,
        write: WriteFile,
    ) -> None:
        self._guard = guard
        self._write = write
        self._source = fetcher
        super().__init__(
            metadata_dir=str(folder),
            metadata_base_url=BASE_URL,
            fetcher=fetcher,
            config=UpdaterConfig(
                max_root_rotations=limits.root_rotations,
                root_max_length=limits.root_bytes,
                timestamp_max_length=limits.timestamp_bytes,
                snapshot_max_length=limits.snapshot_bytes,
                targets_max_length=limits.targets_bytes,
            ),
            bootstrap=root,
        )
        known = guard.floor.versions.get(ROOT, 0) - self._trusted_set.root.version
        self.config.max_root_rotations += max(0, known)  # the bound is on new ones

    @property
    def targets(self) -> Targets:
        """The verified top-level targets role; refresh() comes first."""
        return self._trusted_set.targets

    @property
    def fresh_until(self) -> datetime:
        """When the first of the top-level roles' signatures expires; refresh() first."""
        trusted = self._trusted_set
        roles = (trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets)
        return min(role.expires for role in roles)

    def delegated(self, role: str) -> Targets:
        """Return the verified metadata of a role that the targets role delegates to.

        Never searches: python-tuf's own look-up returns the first role that has a path.
        """
        return self._load_targets(role, TARGETS)

    def _load_root(self) -> None:
        super()._load_root()
        self._guard.enter(self._trusted_set.root)
        self._trusted_set.reference_time = self._guard.reference_time

    def _load_timestamp(self) -> None:
        with self._naming_replays(TIMESTAMP):
            super()._load_timestamp()
        self._accept(TIMESTAMP)
        self._trusted_set.reference_time = self._guard.reference_time

    def _load_snapshot(self) -> None:
        with self._naming_replays(SNAPSHOT):
            super()._load_snapshot()
        self._accept(SNAPSHOT)

    def _load_targets(self, role: str, parent_role: str) -> Targets:
        with self._naming_replays(role):
            targets = super()._load_targets(role, parent_role)
        self._accept(role)
        return targets

    @contextmanager
    def _naming_replays(self, role: str) -> Iterator[None]:
        """Say what is older than what; python-tuf has verified the signatures by then."""
        try:
            yield
        except BadVersionNumberError as error:
            offered: Signed = Metadata.from_bytes(self._source.data).signed
            name = self._source.current
            named = replayed(name, role, offered, self._trusted_set)
            if named is None:
                raise
            raise named from error

    def _accept(self, role: str) -> None:
        """Let the guard see what is trusted: before it is written, or as it was read."""
        self._guard.accept(role, self._trusted_set[role])

    def _persist_metadata(self, rolename: str, data: bytes) -> None:
        self._accept(rolename)
        super()._persist_metadata(rolename, data)

    def _persist_root(self, version: int, data: bytes) -> None:
        self._accept(ROOT)
        super()._persist_root(version, data)

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        if not path.is_file() or path.read_bytes() != data:
            self._write(path, data)
