"""Proposals on disk and on screen: what several people sign, one after the other."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from edgekit.cli.options import print_json
from edgekit.cli.talk import plain, size
from edgekit.document import canonical_json
from edgekit.errors import ConfigError
from edgekit.statement import MODELS_ROLE, ReleaseRecord, StagePointer
from edgekit.trust.gathered import Gathered
from edgekit.trust.key_proposal import KeyProposal, parse
from edgekit.trust.layout import TIME_FORMAT, short
from edgekit.trust.proposal import MAX_BYTES, Change, Proposal
from edgekit.trust.roles import RoleKeys, keys_of

AnyProposal = Proposal | KeyProposal


def say_pending(proposal: AnyProposal, path: Path, *, as_json: bool) -> None:
    """Print a proposal that is kept, and what comes next."""
    if as_json:
        print_json({**document(proposal, path), "pending": True})
        return
    show(proposal)
    if not isinstance(proposal, KeyProposal):
        waits = "nothing runs it yet"
    elif proposal.key_changes():
        waits = "no key has changed yet"
    else:
        waits = "nothing is renewed yet"
    if proposal.complete:
        click.echo(f"\npending: {waits}; it has all signatures: `edgekit publish` {path}")
        return
    click.echo(
        f"\npending: {waits}; have {path} signed with `edgekit sign`,\n"
        "on the machine where the other key is, then `edgekit publish` it"
    )


def read(path: Path) -> AnyProposal:
    """Read a proposal that somebody sent, verified."""
    return parse(content(path))


def content(path: Path) -> bytes:
    """Return the bytes of a proposal, no more than one may have; or raise ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def show(proposal: AnyProposal) -> None:
    """Print what would change, and which signatures are there.

    Ids of keys that somebody may have to compare are whole: the beginning of one can be
    made to order.
    """
    root = keys_of(proposal.root.signed, "root")
    _say(
        f"fleet {proposal.fleet}, root {proposal.root.signed.version}, signed by"
        f" {root.threshold} of the keys"
    )
    for keyid in sorted(root.keyids):
        _say(f"  {keyid}")
    if isinstance(proposal, KeyProposal):
        _show_keys(proposal)
        return
    for change in proposal.changes():
        _say(
            f"{change.role}, {_versions(change)}: {len(change.signed_by)} of"
            f" {change.threshold} signatures, until {change.expires:%Y-%m-%d}"
        )
        for line in _lines(change):
            _say(f"  {line}")


def _show_keys(proposal: KeyProposal) -> None:
    changes = proposal.key_changes()
    if not changes:
        _say("no key changes, nor anything else; signatures are renewed")
    for change in changes:
        after, before = change.after, change.before.keyids if change.before else ()
        now = f"{_needs(change.before)} must sign now" if change.before else "a new stage"
        _say(f"keys of {change.role}: {now}, {_needs(after)} afterwards")
        for keyid in after.keyids:
            _say(f"    {short(keyid)}" if keyid in before else f"  + {keyid}")
        for keyid in sorted(set(before) - set(after.keyids)):
            _say(f"  - {short(keyid)}")
    for one in proposal.gathered():
        for keys in one.by:
            there = keys.threshold - one.lacking(keys)
            words = ", ".join(map(short, keys.keyids))
            _say(
                f"{one.role}, {_versions(one)}, until"
                f" {one.expires:%Y-%m-%d}: {there} of {keys.threshold} signatures of"
                f" {words}"
            )


def _versions(new: Change | Gathered) -> str:
    """Name the version; devices never go back, so numbers left out are told."""
    left_out = new.version - new.before - 1
    told = f"version {new.version} after {new.before}"
    return f"{told} ({left_out} left out)" if left_out else told


def _say(line: str) -> None:
    click.echo(plain(line))


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
                "version_before": change.before,
                "expires": change.expires.strftime(TIME_FORMAT),
                "signed_by": list(change.signed_by),
                "threshold": change.threshold,
                "added": sorted(change.added),
                "replaced": sorted(change.replaced),
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
                "before": change.before and _role_keys(change.before),
                "after": _role_keys(change.after),
            }
            for change in proposal.key_changes()
        },
        "roles": {
            one.role: {
                "version": one.version,
                "version_before": one.before,
                "expires": one.expires.strftime(TIME_FORMAT),
                "signed_by": list(one.signed_by),
                "by": [{**_role_keys(k), "missing": one.lacking(k)} for k in one.by],
            }
            for one in proposal.gathered()
        },
    }


def _role_keys(keys: RoleKeys) -> dict[str, object]:
    return {"threshold": keys.threshold, "keys": list(keys.keyids)}


def _lines(change: Change) -> Iterator[str]:
    for path, data in change.added.items():
        if change.role == MODELS_ROLE:
            yield from _record_lines(ReleaseRecord.from_json(data))
            if path in change.replaced:
                yield "    in place of what is signed under this version"
        else:
            yield from _pointer_lines(StagePointer.from_json(data))
    for path in change.dropped:
        yield f"- {path}"


def _record_lines(record: ReleaseRecord) -> Iterator[str]:
    yield f"+ {record.model} {record.version}, run {record.run_id or 'unknown'}"
    yield f"    source sha256 {record.source_sha256}"
    for entry in record.bundles:
        boards = ", ".join(entry.boards) or "any board"
        yield f"    {entry.flavor}: {size(entry.length)}, for {boards}"
        yield f"      sha256 {entry.sha256}"
        if entry.manifest_sha256:
            yield f"      manifest sha256 {entry.manifest_sha256}"
    yield from _more(record.extra)


def _pointer_lines(pointer: StagePointer) -> Iterator[str]:
    yield (
        f"+ {pointer.model} in {pointer.stage}: version {pointer.version},"
        f" rollout {pointer.rollout}, in {', '.join(sorted(pointer.bundles))}"
    )
    for flavor, digest in sorted(pointer.bundles.items()):
        yield f"    {flavor}: sha256 {digest}"
    yield from _more(pointer.extra)


def _more(extra: Mapping[str, object]) -> Iterator[str]:
    """Show what this version of edgekit does not know, as it is signed all the same."""
    for name, value in extra.items():
        yield f"    {name}: {canonical_json(value).decode()}"
