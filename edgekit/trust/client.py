"""Which bundles a device may run, from metadata that anybody may have touched.

Knows no transport (a MetadataSource brings files), no bundles and no clock (`now` is
given). Holds python-tuf in memory: a resident process runs it in a child.
"""

import logging
from datetime import datetime
from pathlib import Path

from tuf.api.serialization import DeserializationError

from edgekit.atomic import write_bytes
from edgekit.document import Reader
from edgekit.errors import StoreError, TrustError
from edgekit.statement import (
    MODELS_ROLE,
    ReleaseRecord,
    StagePointer,
    pointer_path,
    record_path,
    stage_role,
)
from edgekit.trust.delegation import delegation, refuse_foreign_paths, refuse_strays
from edgekit.trust.evidence import Evidence
from edgekit.trust.expiry import ExpiredError
from edgekit.trust.fetcher import SourceFetcher
from edgekit.trust.floor import Floor
from edgekit.trust.guard import Guard
from edgekit.trust.layout import FLEET_FIELD, METADATA, cached_file, statement_file
from edgekit.trust.limits import DEFAULT_LIMITS, Limits
from edgekit.trust.payload import Metadata, Root, TargetFile
from edgekit.trust.refusal import refusals
from edgekit.trust.shelf import WriteFile
from edgekit.trust.source import MetadataSource
from edgekit.trust.updater import GuardedUpdater
from edgekit.trust.vouched import Vouched, check_pointer, vouch

__all__ = ["ExpiredError", "MetadataSource", "TrustClient", "Vouched"]

log = logging.getLogger(__name__)


class TrustClient:
    """The trusted view of one fleet, kept in `folder`; one process at a time.

    `root` is the root.json the device was provisioned with. `now` is the device's time,
    with a zone; `believe_clock=False` judges expiry by signed times alone, for a device
    that knows its clock to be wrong. `fleet`, when given, must be the root's.
    """

    def __init__(  # noqa: PLR0913 - the parts a client consists of
        self,
        folder: Path,
        root: bytes,
        source: MetadataSource,
        now: datetime,
        *,
        fleet: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        believe_clock: bool = True,
        write: WriteFile = write_bytes,
    ) -> None:
        if now.tzinfo is None:
            raise ValueError("now: a time with a zone is expected")
        self._folder = folder
        self._root = root
        self._fetcher = SourceFetcher(source)
        self._fleet = _fleet_of(root, expected=fleet)
        self._clock = now if believe_clock else None
        self._limits = limits
        self._write = write
        self._guard = Guard(Floor(fleet=self._fleet), self._clock)
        self._updater: GuardedUpdater | None = None
        self._statements: dict[str, bytes] = {}  # by path: fetched, and as they were signed

    def refresh(self) -> None:
        """Bring the view up to date, or raise and leave what was accepted before.

        Raises TrustError (ExpiredError among them), TransportError or StoreError.
        """
        self._updater = self._refreshed()

    def resolve(self, *, stage: str, model: str) -> Vouched | None:
        """Return what the stage runs of a model, None when it was never released there.

        Refreshes first if that was not done. Raises as refresh() does.
        """
        updater = self._updater = self._updater or self._refreshed()
        before = self._guard.floor
        with refusals(self._fetcher):
            try:
                return self._resolved(updater, stage=stage, model=model)
            finally:
                self._keep_floor(before)

    def evidence(self, vouched: Vouched) -> Evidence:
        """Return what was signed for what resolve() returned, to be kept beside it."""
        pointer = vouched.pointer
        stage, model = pointer.stage, pointer.model
        with refusals(self._fetcher):
            return Evidence(
                models=self._role_file(MODELS_ROLE).read_bytes(),
                stage=self._role_file(stage_role(stage)).read_bytes(),
                pointer=self._statements[pointer_path(stage, model)],
                record=self._statements[record_path(model, pointer.version)],
            )

    def _role_file(self, role: str) -> Path:
        return self._folder / METADATA / cached_file(role)

    def _refreshed(self) -> GuardedUpdater:
        metadata = self._folder / METADATA
        before = self._load_floor()
        self._guard = Guard(before, self._clock)
        self._fetcher.current = ""
        with refusals(self._fetcher):
            metadata.mkdir(parents=True, exist_ok=True)
            try:
                updater = GuardedUpdater(
                    metadata,
                    root=self._root,
                    fetcher=self._fetcher,
                    guard=self._guard,
                    limits=self._limits,
                    write=self._write,
                )
                updater.refresh()
                floor = self._guard.floor.with_freshness(updater.fresh_until)
                self._guard.floor = floor
            finally:
                self._keep_floor(before)
        return updater

    def _resolved(
        self, updater: GuardedUpdater, *, stage: str, model: str
    ) -> Vouched | None:
        path = pointer_path(stage, model)
        found = self._statement(updater, stage_role(stage), path)
        if found is None:
            return None
        pointer = check_pointer(StagePointer.from_json(found), stage=stage, model=model)
        record = self._statement(updater, MODELS_ROLE, record_path(model, pointer.version))
        if record is None:
            raise TrustError(
                f"{model} {pointer.version}: stage {stage} points at it, the models role"
                " has not signed it; both are expected"
            )
        vouched = vouch(pointer, ReleaseRecord.from_json(record))
        signers = frozenset(delegation(updater.targets, stage_role(stage)).keyids)
        self._guard.floor = self._guard.floor.with_rollout(path, pointer.rollout, signers)
        return vouched

    def _statement(self, updater: GuardedUpdater, role: str, path: str) -> bytes | None:
        """Return a statement that `role`, and no other, has signed."""
        refuse_strays(updater.targets)
        allowed = delegation(updater.targets, role)
        signed = updater.delegated(role)
        refuse_foreign_paths(allowed, signed)
        target = signed.targets.get(path)
        return None if target is None else self._fetch(target)

    def _fetch(self, target: TargetFile) -> bytes:
        sha256 = Reader(table=target.hashes, subject=target.path, error=TrustError).sha256(
            "sha256"
        )
        if target.length > self._limits.statement_bytes:
            raise TrustError(
                f"{target.path}: {target.length} bytes, at most"
                f" {self._limits.statement_bytes} are expected"
            )
        data = self._fetcher.read(statement_file(target.path, sha256), target.length)
        target.verify_length_and_hashes(data)
        self._statements[target.path] = data
        return data

    @property
    def _floor_file(self) -> Path:
        return self._folder / "floor.json"

    def _load_floor(self) -> Floor:
        try:
            floor = Floor.from_json(self._floor_file.read_bytes())
        except FileNotFoundError:
            return Floor(fleet=self._fleet)
        except OSError as error:
            raise StoreError(f"{self._floor_file}: {error.strerror}") from error
        except TrustError as error:
            log.warning("%s; python-tuf's files alone tell what was accepted", error)
            return Floor(fleet=self._fleet)
        return floor if floor.fleet == self._fleet else Floor(fleet=self._fleet)

    def _keep_floor(self, before: Floor) -> None:
        """Remember what was accepted, also when what came after it was refused."""
        if self._guard.floor != before:
            self._write(self._floor_file, self._guard.floor.to_json())


def _fleet_of(root: bytes, *, expected: str | None) -> str:
    try:
        signed = Metadata[Root].from_bytes(root).signed
    except DeserializationError as error:
        raise TrustError("the trusted root: damaged, a root.json is expected") from error
    fleet = signed.unrecognized_fields.get(FLEET_FIELD)
    if not isinstance(fleet, str) or expected not in (None, fleet):
        raise TrustError(
            f"the trusted root: of fleet {fleet!r},"
            f" {'a name' if expected is None else repr(expected)} is expected"
        )
    return fleet
