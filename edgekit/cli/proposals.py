"""Proposals on disk and on screen: what several people sign, one after the other."""

from collections.abc import Iterator
from pathlib import Path

import click

from edgekit import atomic
from edgekit.cli.options import print_json
from edgekit.cli.talk import size
from edgekit.errors import ConfigError, StoreError
from edgekit.statement import MODELS_ROLE, ReleaseRecord, StagePointer, slug
from edgekit.trust.key_proposal import KeyProposal, parse
from edgekit.trust.layout import short
from edgekit.trust.proposal import MAX_BYTES, Change, Proposal
from edgekit.trust.roles import RoleKeys

_SHORT = 12
AnyProposal = Proposal | KeyProposal


def pending(proposal: AnyProposal, fleet_folder: Path, *, as_json: bool) -> None:
    """Keep a proposal in the fleet folder, and say what comes next."""
    path = _keep(fleet_folder, proposal)
    if as_json:
        print_json({**document(proposal, path), "pending": True})
        return
    show(proposal)
    if isinstance(proposal, KeyProposal):
        waits = "no key has changed yet"
    else:
        waits = "nothing runs it yet"
    click.echo(
        f"\npending: {waits}; have {path} signed with `edgekit sign`,\n"
        "on the machine where the other key is, then `edgekit publish` it"
    )


def _keep(folder: Path, proposal: AnyProposal) -> Path:
    path = folder / "pending" / f"{_name(proposal)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent}: {error.strerror}") from error
    atomic.write_bytes(path, proposal.to_json())
    return path


def _name(proposal: AnyProposal) -> str:
    """Name the first pointer in it, or record taken back: model, version, stage."""
    if isinstance(proposal, KeyProposal):
        return "-".join(["keys", *(change.role for change in proposal.key_changes())])
    for change in proposal.changes():
        for data in change.added.values():
            if change.role != MODELS_ROLE:
                said = StagePointer.from_json(data)
                return "-".join(map(slug, (said.model, said.version, said.stage)))
        for path in change.dropped:  # models/<model>/<version>.json
            _, model, version = path.removesuffix(".json").split("/")
            return f"withdraw-{model}-{version}"
    return "proposal"


def read(path: Path) -> AnyProposal:
    """Read a proposal that somebody sent, verified."""
    try:
        with path.open("rb") as file:
            return parse(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def show(proposal: AnyProposal) -> None:
    """Print what would change, and which signatures are there."""
    keyids = sorted(proposal.root.signed.roles["root"].keyids)
    words = ", ".join(short(keyid) for keyid in keyids)
    click.echo(
        f"fleet {proposal.fleet}, root {proposal.root.signed.version} (keys {words})"
    )
    if isinstance(proposal, KeyProposal):
        _show_keys(proposal)
        return
    for change in proposal.changes():
        signatures = f"{len(change.signed_by)} of {change.threshold} signatures"
        click.echo(f"{change.role}, version {change.version}: {signatures}")
        for line in _lines(change):
            click.echo(f"  {line}")


def _show_keys(proposal: KeyProposal) -> None:
    for change in proposal.key_changes():
        before, after = change.before, change.after
        click.echo(
            f"keys of {change.role}: {_needs(before)} must sign now,"
            f" {_needs(after)} afterwards"
        )
        for keyid in after.keyids:
            click.echo(f"  {'+' if keyid not in before.keyids else ' '} {short(keyid)}")
        for keyid in sorted(set(before.keyids) - set(after.keyids)):
            click.echo(f"  - {short(keyid)}")
    for one in proposal.gathered():
        for keys in one.by:
            there = keys.threshold - one.lacking(keys)
            words = ", ".join(map(short, keys.keyids))
            click.echo(
                f"{one.role}, version {one.version}: {there} of {keys.threshold}"
                f" signatures of {words}"
            )


def _needs(keys: RoleKeys) -> str:
    return f"{keys.threshold} of {len(keys.keys)}"


def missing(proposal: AnyProposal) -> int:
    """Return how many signatures are still to come, at least."""
    if isinstance(proposal, KeyProposal):
        return sum(one.lacks for one in proposal.gathered())
    return sum(change.lacks for change in proposal.changes())


def document(proposal: AnyProposal, path: Path) -> dict[str, object]:
    """Return the same for a script."""
    if isinstance(proposal, KeyProposal):
        return _keys_document(proposal, path)
    return {
        "file": str(path),
        "fleet": proposal.fleet,
        "complete": proposal.complete,
        "roles": {
            change.role: {
                "version": change.version,
                "signed_by": list(change.signed_by),
                "threshold": change.threshold,
                "added": sorted(change.added),
                "dropped": list(change.dropped),
            }
            for change in proposal.changes()
        },
    }


def _keys_document(proposal: KeyProposal, path: Path) -> dict[str, object]:
    return {
        "file": str(path),
        "fleet": proposal.fleet,
        "complete": proposal.complete,
        "keys": {
            change.role: {
                "before": _role_keys(change.before),
                "after": _role_keys(change.after),
            }
            for change in proposal.key_changes()
        },
        "roles": {
            one.role: {
                "version": one.version,
                "signed_by": list(one.signed_by),
                "by": [{**_role_keys(k), "missing": one.lacking(k)} for k in one.by],
            }
            for one in proposal.gathered()
        },
    }


def _role_keys(keys: RoleKeys) -> dict[str, object]:
    return {"threshold": keys.threshold, "keys": list(keys.keyids)}


def _lines(change: Change) -> Iterator[str]:
    for data in change.added.values():
        if change.role == MODELS_ROLE:
            yield from _record_lines(ReleaseRecord.from_json(data))
        else:
            pointer = StagePointer.from_json(data)
            yield (
                f"+ {pointer.model} in {pointer.stage}: version {pointer.version},"
                f" rollout {pointer.rollout}, in {', '.join(sorted(pointer.bundles))}"
            )
    for path in change.dropped:
        yield f"- {path}"


def _record_lines(record: ReleaseRecord) -> Iterator[str]:
    yield f"+ {record.model} {record.version}, run {record.run_id or 'unknown'}"
    for entry in record.bundles:
        boards = ", ".join(entry.boards) or "any board"
        yield (
            f"    {entry.flavor}: {size(entry.length)}, sha256 {entry.sha256[:_SHORT]},"
            f" for {boards}"
        )
