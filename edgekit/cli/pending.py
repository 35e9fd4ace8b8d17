"""Where pending proposals lie: one file each in the fleet folder, named by the change."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from edgekit import atomic
from edgekit.cli import proposals
from edgekit.cli.proposals import AnyProposal
from edgekit.cli.talk import now
from edgekit.errors import EdgekitError, StoreError
from edgekit.statement import MODELS_ROLE, StagePointer, slug
from edgekit.trust.key_proposal import KeyProposal


def pend(proposal: AnyProposal, fleet_folder: Path, *, as_json: bool) -> None:
    """Keep a proposal in the fleet folder, and say what comes next."""
    path, kept = keep(fleet_folder, proposal)
    proposals.say_pending(kept, path, as_json=as_json)


def keep(fleet_folder: Path, proposal: AnyProposal) -> tuple[Path, AnyProposal]:
    """Keep a proposal in the fleet folder; return where, and what lies there.

    One that says the same and stands there already stays, with the signatures that it
    has gathered; one that says something else, and could still be published, stays beside
    it, as does a file that cannot be read. StoreError when the disk refuses.
    """
    folder = fleet_folder / "pending"
    for path in _names(folder, _name(proposal)):
        standing = _standing(path)
        if standing is None:
            if os.path.lexists(path):
                continue  # from a newer edgekit, say: not ours to throw away
            break
        if standing.expired(now()) or not standing.stands_with(proposal):
            break
        if standing.says_as(proposal):
            return path, standing
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}") from error
    atomic.write_bytes(path, proposal.to_json())
    return path, proposal


def proposed_keys(fleet_folder: Path) -> dict[str, Path]:
    """Return the ids of the keys that pending proposals would let sign, and which does."""
    found = {}
    for path in sorted((fleet_folder / "pending").glob("*.json")):
        proposal = _standing(path)
        if isinstance(proposal, KeyProposal):
            for change in proposal.key_changes():
                found.update(dict.fromkeys(change.after.keyids, path))
    return found


def _names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / f"{name}.json"
    for number in count(2):
        yield folder / f"{name}-{number}.json"


def _standing(path: Path) -> AnyProposal | None:
    """Return the proposal that lies there, None where none can be read."""
    try:
        return proposals.read(path)
    except EdgekitError:
        return None


def _name(proposal: AnyProposal) -> str:
    """Name the first pointer in it, or record taken back: model, version, stage."""
    if isinstance(proposal, KeyProposal):
        changed = [change.role for change in proposal.key_changes()]
        renewed = [one.role for one in proposal.gathered()]
        return "-".join(["keys", *changed] if changed else ["renew", *renewed])
    for change in proposal.changes():
        for data in change.added.values():
            if change.role != MODELS_ROLE:
                said = StagePointer.from_json(data)
                return "-".join(map(slug, (said.model, said.version, said.stage)))
        for path in change.dropped:  # models/<model>/<version>.json
            _, model, version = path.removesuffix(".json").split("/")
            return f"withdraw-{model}-{version}"
    return "proposal"
