"""Where releases are made: sign a stage pointer, then write it into the ledger.

Knows the repository and the ledger; no registry, no converter and no clock. The signed
repository is the truth: should a crash come between the two, the ledger catches up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgekit.document import Reader
from edgekit.errors import ConfigError, TrustError
from edgekit.release.history import Action, Entry
from edgekit.release.ledger import Ledger
from edgekit.statement import MODELS_ROLE, ReleaseRecord, StagePointer, stage_role
from edgekit.trust.keys import SignerLookup
from edgekit.trust.layout import metadata_file
from edgekit.trust.proposal import Proposal
from edgekit.trust.repository import ONLINE_ROLES, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointing:
    """What a stage is to run: bundles of a version by flavor, and records not yet out."""

    stage: str
    model: str
    version: str
    bundles: Mapping[str, str]
    records: tuple[ReleaseRecord, ...] = ()

    def stands_in(self, pointer: StagePointer) -> bool:
        """Whether a pointer says just this."""
        return (pointer.version, dict(pointer.bundles)) == (
            self.version,
            dict(self.bundles),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """The operator's side of one fleet; `who` is who sits there (an account's name)."""

    repository: Repository
    ledger: Ledger
    flavors: Path  # the cache of conversions
    signers: SignerLookup
    who: str

    def point(self, pointing: Pointing, action: Action, now: datetime) -> Entry | None:
        """Let a stage run these bundles under the next rollout number.

        Return the new entry, None when the stage runs exactly these already.
        """
        self.catch_up(now)
        pointer = self._pointer(pointing)
        self.repository.publish(
            records=pointing.records,
            pointers=() if pointer is None else (pointer,),
            signers=self.signers,
            now=now,
        )
        return None if pointer is None else self._enter(pointer, action, now)

    def changes(self, pointing: Pointing) -> bool:
        """Whether the stage runs something else now."""
        return self._pointer(pointing) is not None

    def propose(self, pointing: Pointing, now: datetime) -> Proposal:
        """Return what point() would publish, for others to sign; publish nothing."""
        self.catch_up(now)
        pointer = self._pointer(pointing)
        return self.repository.propose(
            records=pointing.records,
            pointers=() if pointer is None else (pointer,),
            signers=self.signers,
            now=now,
        )

    def publish(self, proposal: Proposal, now: datetime) -> tuple[Entry, ...]:
        """Let stages run what a proposal says, signed in full; return the new entries."""
        self.catch_up(now)
        self.repository.publish_proposal(proposal, signers=self.signers, now=now)
        return self.catch_up(now)

    def withdraw(
        self, versions: Sequence[tuple[str, str]], now: datetime
    ) -> Proposal | None:
        """Take back records by (model, version), or return what others must sign first."""
        self.catch_up(now)
        if self._others_sign({MODELS_ROLE}):
            return self.repository.propose(withdraw=versions, signers=self.signers, now=now)
        self.repository.publish(withdraw=versions, signers=self.signers, now=now)
        return None

    def needs_others(self, stage: str, *, record: bool = True) -> bool:
        """Whether a release to `stage` needs a signature that somebody else must give.

        `record`: whether the models role must sign too. ConfigError when a key is missing
        that only this place can have: one whose role needs no second signature, or that
        of an online role.
        """
        return self._others_sign({stage_role(stage), *([MODELS_ROLE] if record else ())})

    def _others_sign(self, roles: set[str]) -> bool:
        needed = {*roles, *ONLINE_ROLES}
        others = False
        for state in self.repository.roles():
            here = [
                k for k in state.keys.keyids if state.role in needed and self.signers(k)
            ]
            if state.role not in needed or len(here) >= state.keys.threshold:
                continue
            if state.role in ONLINE_ROLES or state.keys.threshold == 1:
                raise ConfigError(
                    f"{state.role}: {len(here)} of the {state.keys.threshold} keys it needs"
                    " are at hand; put its key files into the keys folder, or name"
                    " theirs with --keys"
                )
            others = True
        return others

    def _pointer(self, pointing: Pointing) -> StagePointer | None:
        """Return the next pointer, None when the standing one says just this."""
        stage, model = pointing.stage, pointing.model
        standing = self.repository.pointer(stage=stage, model=model)
        if standing is not None and pointing.stands_in(standing):
            return None
        return StagePointer(
            model=model,
            stage=stage,
            version=pointing.version,
            rollout=self._next_rollout(stage, model, standing),
            bundles=dict(pointing.bundles),
        )

    def record(self, *, model: str, version: str) -> ReleaseRecord | None:
        """Return the release record of a version, None when it was never released."""
        found = (r for r in self.repository.records() if r.model == model)
        return next((r for r in found if r.version == version), None)

    def catch_up(self, now: datetime) -> tuple[Entry, ...]:
        """Enter what was signed and, because of a crash, not written down."""
        entered = []
        for pointer in self.repository.pointers():
            known = self.ledger.entries(stage=pointer.stage, model=pointer.model)
            if known and known[-1].rollout >= pointer.rollout:
                continue
            ran_before = any(
                (entry.version, entry.bundles) == (pointer.version, pointer.bundles)
                for entry in known
            )
            action = Action.ROLLBACK if ran_before else Action.RELEASE
            entered.append(self._enter(pointer, action, now))
        return tuple(entered)

    def _next_rollout(self, stage: str, model: str, standing: StagePointer | None) -> int:
        """Above all that was ever signed, also where an older repository was restored."""
        newest = self.ledger.newest(stage=stage, model=model)
        return 1 + max(standing.rollout if standing else 0, newest.rollout if newest else 0)

    def _enter(self, pointer: StagePointer, action: Action, now: datetime) -> Entry:
        record = self.record(model=pointer.model, version=pointer.version)
        roles = (MODELS_ROLE, stage_role(pointer.stage))
        entry = Entry(
            stage=pointer.stage,
            model=pointer.model,
            rollout=pointer.rollout,
            version=pointer.version,
            run_id=record.run_id if record else "",
            bundles=dict(pointer.bundles),
            signers={role: signatures(self.repository, role) for role in roles},
            who=self.who,
            at=now,
            action=action,
        )
        self.ledger.append(entry)
        return entry


def signatures(repository: Repository, role: str) -> tuple[str, ...]:
    """Return the ids of the keys that signed a role's current metadata."""
    for state in repository.roles():
        if state.role == role:
            name = metadata_file(role, state.version)
            data = repository.files.read(name)
            reader = Reader.from_json(data, subject=name, error=TrustError)
            return tuple(one.text("keyid") for one in reader.children("signatures"))
    raise TrustError(f"{role}: no such role in {repository.folder}")
