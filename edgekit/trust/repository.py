"""A fleet's signed repository on the operator's disk: what is released, and by which keys.

Knows no passphrases (a signer look-up is given), no bundles, no broker and no clock. How a
change comes to the disk is edgekit.trust.revision's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgekit.atomic import write_bytes
from edgekit.errors import ConfigError, StoreError
from edgekit.statement import (
    ReleaseRecord,
    StagePointer,
    stage_role,
)
from edgekit.trust.draft import Draft, Signing
from edgekit.trust.expiry import DEFAULT_LIFETIMES, Lifetimes
from edgekit.trust.generation import Generation, founding
from edgekit.trust.key_proposal import KeyProposal
from edgekit.trust.keys import SignerLookup
from edgekit.trust.layout import (
    FLEET_FIELD,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    TIMESTAMP_FILE,
    metadata_file,
)
from edgekit.trust.limits import DEFAULT_LIMITS, Limits
from edgekit.trust.proposal import Proposal
from edgekit.trust.redraft import Redraft, naming, renewing
from edgekit.trust.release import Release
from edgekit.trust.revision import Publication, Revisions
from edgekit.trust.roles import RoleKeys, keys_of, role_names
from edgekit.trust.shelf import Shelf, WriteFile
from edgekit.trust.statements import pointers, records

ONLINE_ROLES = (SNAPSHOT, TIMESTAMP)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleState:
    """Who signs for a role, and until when its last signature holds."""

    role: str
    keys: RoleKeys
    version: int
    expires: datetime


class Repository:
    """The folder with `files/`, which a depot serves as it is, and `blobs/`.

    Chunk indexes (`files/index/`) and blobs are left alone: they belong to who writes them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
        limits: Limits = DEFAULT_LIMITS,
        write: WriteFile = write_bytes,
    ) -> None:
        self.folder = folder
        self.files = Shelf(folder / "files", write=write)
        self.blobs = folder / "blobs"
        self._revisions = Revisions(folder, self.files, lifetimes=lifetimes, limits=limits)

    @classmethod
    def create(  # noqa: PLR0913 - everything a fleet's trust starts from
        cls,
        folder: Path,
        *,
        fleet: str,
        stages: Sequence[str],
        keys: Mapping[str, RoleKeys],
        signers: SignerLookup,
        now: datetime,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
        limits: Limits = DEFAULT_LIMITS,
        write: WriteFile = write_bytes,
    ) -> "Repository":
        """Make the repository of a new fleet: every role signed once, nothing released.

        `keys` names the keys of each role in `roles.role_names(stages)`. Raises
        ConfigError when one lacks keys, or when there is a repository already.
        """
        missing = set(role_names(tuple(stages))) - set(keys)
        if missing:
            raise ConfigError(f"{', '.join(sorted(missing))}: keys are expected")
        self = cls(folder, lifetimes=lifetimes, limits=limits, write=write)
        self._make_folders()
        self._revisions.found(founding(fleet, tuple(stages), keys), signers, now)
        return self

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
        limits: Limits = DEFAULT_LIMITS,
        write: WriteFile = write_bytes,
    ) -> "Repository":
        """Return the repository in a folder, verified; ConfigError when there is none."""
        self = cls(folder, lifetimes=lifetimes, limits=limits, write=write)
        if self.files.file(TIMESTAMP_FILE, 0) is None:
            raise ConfigError(f"{folder}: no repository in it; `edgekit init` makes one")
        self._revisions.current()
        return self

    @property
    def fleet(self) -> str:
        """The fleet's name, as its root is signed for."""
        return str(self._revisions.current().root.signed.unrecognized_fields[FLEET_FIELD])

    def trusted_root(self) -> bytes:
        """Return the newest root.json: what a device is provisioned with."""
        newest = self._revisions.current().root.signed.version
        return self.files.read(metadata_file(ROOT, newest))

    def roles(self) -> tuple[RoleState, ...]:
        """Return the state of every role, the delegated ones last."""
        current = self._revisions.current()
        return tuple(
            RoleState(
                role=role,
                keys=keys_of(current.delegator(role), role),
                version=current.version(role),
                expires=current.signed(role).expires,
            )
            for role in (ROOT, TARGETS, *ONLINE_ROLES, *current.delegations)
        )

    def records(self) -> tuple[ReleaseRecord, ...]:
        """Return every release record that the models role vouches for."""
        return tuple(records(self.files, self._revisions.current()))

    def pointers(self) -> tuple[StagePointer, ...]:
        """Return what every stage runs of every model."""
        return tuple(pointers(self.files, self._revisions.current()))

    def pointer(self, *, stage: str, model: str) -> StagePointer | None:
        """Return what a stage runs of a model, None when it was never released there."""
        current = self._revisions.current()
        if stage_role(stage) not in current.delegations:
            raise ConfigError(f"stage {stage}: no such stage in this fleet")
        found = (p for p in pointers(self.files, current) if p.stage == stage)
        return next((p for p in found if p.model == model), None)

    def publish(
        self,
        *,
        records: Iterable[ReleaseRecord] = (),
        pointers: Iterable[StagePointer] = (),
        withdraw: Iterable[tuple[str, str]] = (),
        signers: SignerLookup,
        now: datetime,
    ) -> Publication:
        """Sign and offer statements; `withdraw` takes back records by (model, version).

        A pointer needs a higher rollout number than its predecessor, and a record that
        names its bundles. What is published already, and equal, is left as it is.
        """
        release = Release(
            records=tuple(records), pointers=tuple(pointers), withdraw=tuple(withdraw)
        )
        return self._revisions.make(
            lambda draft, current: release.apply(draft, self.files, current), signers, now
        )

    def propose(
        self,
        *,
        records: Iterable[ReleaseRecord] = (),
        pointers: Iterable[StagePointer] = (),
        withdraw: Iterable[tuple[str, str]] = (),
        signers: SignerLookup,
        now: datetime,
    ) -> Proposal:
        """Return the same as a proposal, with the signatures at hand; writes nothing."""
        release = Release(
            records=tuple(records), pointers=tuple(pointers), withdraw=tuple(withdraw)
        )
        current = self._revisions.current()
        draft = self._revisions.draft(current)
        release.apply(draft, self.files, current)
        roles = draft.propose(self._revisions.terms(signers, now))
        return Proposal(
            root=current.root,
            targets=current.roles[TARGETS],
            base={role: current.roles[role] for role in roles},
            roles=roles,
            statements=dict(draft.statements),
        )

    def publish_proposal(
        self, proposal: Proposal, *, signers: SignerLookup, now: datetime
    ) -> Publication:
        """Offer what a proposal states, under the signatures that it has gathered.

        ConfigError when some are still missing, when it has expired, or when the fleet
        has changed since.
        """

        def change(draft: Draft, current: Generation) -> None:
            proposal.refuse_unlike(current, now)
            release = Release.proposed(proposal)
            release.apply(draft, self.files, current)
            for role, metadata in proposal.roles.items():
                self._revisions.refuse_used(role, metadata, current)
                draft.adopt(role, metadata)

        return self._revisions.make(change, signers, now)

    def renew(
        self,
        *,
        signers: SignerLookup,
        now: datetime,
        roles: Iterable[str] = ONLINE_ROLES,
    ) -> Publication:
        """Sign roles anew before they expire, with nothing changed in them."""
        return self.redraft(renewing(roles), signers=signers, now=now)

    def set_keys(
        self, role: str, keys: RoleKeys, *, signers: SignerLookup, now: datetime
    ) -> Publication:
        """Let these keys sign for a role from now on, and no others.

        Needs keys of the role that names them (root, or targets), the new keys of the
        role itself, and for the root the old ones too.
        """
        return self.redraft(naming(role, keys), signers=signers, now=now)

    def redraft(
        self, change: Redraft, *, signers: SignerLookup, now: datetime
    ) -> Publication:
        """Sign and offer a change of roles."""
        return self._revisions.make(lambda draft, _current: change(draft), signers, now)

    def preview(self, change: Redraft) -> tuple[Signing, ...]:
        """Return what redraft() would sign, and by whom; write and sign nothing."""
        draft = self._revisions.draft(self._revisions.current())
        change(draft)
        return draft.signings()

    def propose_keys(
        self, change: Redraft, *, signers: SignerLookup, now: datetime
    ) -> KeyProposal:
        """Return what redraft() would sign as a proposal; writes nothing."""
        current = self._revisions.current()
        if current.stale:
            raise ConfigError(
                f"{', '.join(sorted(current.stale))}: a change of keys was cut short;"
                " `edgekit publish` its proposal again, or `edgekit keys renew` these"
                " where their keys are"
            )
        draft = self._revisions.draft(current)
        change(draft)
        root, roles = draft.propose_keys(self._revisions.terms(signers, now))
        return KeyProposal(
            root=current.root,
            targets=current.roles[TARGETS],
            base={one: current.roles[one] for one in roles if one in current.delegations},
            new_root=root,
            roles=roles,
        )

    def publish_keys(
        self, proposal: KeyProposal, *, signers: SignerLookup, now: datetime
    ) -> Publication:
        """Let the keys of a proposal sign, under the signatures that it has gathered.

        One that was cut short is finished; of a new root alone, at least the timestamp is
        signed anew. ConfigError when signatures are still missing or it has expired, when
        it is published already, or when the fleet has changed since.
        """

        def change(draft: Draft, current: Generation) -> None:
            proposal.refuse_unlike(current, now)
            for role, metadata in proposal.roles.items():
                self._revisions.refuse_used(role, metadata, current)
            begun = proposal.begun(current)
            draft.adopt_keys(None if begun else proposal.new_root, proposal.roles)
            draft.touch(TIMESTAMP)  # a running depot sees nothing new before this one

        return self._revisions.make(change, signers, now)

    def _make_folders(self) -> None:
        try:
            self.files.folder.mkdir(parents=True, exist_ok=True)
            self.blobs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from error
