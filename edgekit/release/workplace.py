"""Where releases are made: sign a stage pointer, then write it into the ledger.

Knows the repository and the ledger; no registry, no converter and no clock. The signed
repository is the truth: should a crash come between the two, the ledger catches up.
"""

from collections.abc import Iterable
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
from edgekit.trust.repository import ONLINE_ROLES, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """The operator's side of one fleet; `who` is who sits there (an account's name)."""

    repository: Repository
    ledger: Ledger
    flavors: Path  # the cache of conversions
    signers: SignerLookup
    who: str

    def point(  # noqa: PLR0913 - the parts of one statement
        self,
        *,
        stage: str,
        model: str,
        version: str,
        bundles: dict[str, str],
        action: Action,
        now: datetime,
        records: Iterable[ReleaseRecord] = (),
    ) -> Entry | None:
        """Let a stage run these bundles under the next rollout number.

        Return the new entry, None when the stage runs exactly these already.
        """
        self.catch_up(now)
        standing = self.repository.pointer(stage=stage, model=model)
        unchanged = standing is not None and (
            (standing.version, dict(standing.bundles)) == (version, bundles)
        )
        pointer = StagePointer(
            model=model,
            stage=stage,
            version=version,
            rollout=self._next_rollout(stage, model, standing),
            bundles=bundles,
        )
        self.repository.publish(
            records=records,
            pointers=() if unchanged else (pointer,),
            signers=self.signers,
            now=now,
        )
        return None if unchanged else self._enter(pointer, action, now)

    def refuse_without_keys(self, stage: str) -> None:
        """Raise ConfigError when a new release to `stage` could not be signed here."""
        needed = {MODELS_ROLE, stage_role(stage), *ONLINE_ROLES}
        for state in self.repository.roles():
            here = [
                k for k in state.keys.keyids if state.role in needed and self.signers(k)
            ]
            if state.role in needed and len(here) < state.keys.threshold:
                raise ConfigError(
                    f"{state.role}: {len(here)} of the {state.keys.threshold} keys it needs"
                    " are at hand; put its key files into the keys folder, or name"
                    " theirs with --keys"
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
