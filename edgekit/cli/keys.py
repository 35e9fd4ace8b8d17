"""`edgekit keys`: who signs for which role. Knows options and output, no rules."""

from datetime import UTC, datetime
from pathlib import Path

import click

from edgekit.cli.options import (
    fleet_option,
    json_option,
    keys_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.statement import stage_role
from edgekit.trust.keys import KeyFile, KeyFolder
from edgekit.trust.layout import TIME_FORMAT, short
from edgekit.trust.repository import ONLINE_ROLES, Publication, Repository, RoleState
from edgekit.trust.rotation import Locksmith, Rotated

_HEADINGS = ("ROLE", "NEEDS", "KEY", "FILE", "VERSION", "EXPIRES")


@click.group(name="keys")
def command() -> None:
    """Say which keys sign for the fleet, and replace them.

    A role signs one kind of thing: models says which bundles exist, stage-NAME what a
    stage runs, snapshot and timestamp keep it fresh, targets and root name the keys of
    the others. Replacing a key of models or of a stage takes the key of targets;
    replacing one of targets, snapshot, timestamp or root takes the key of root.
    """


@command.command(name="list")
@fleet_option
@json_option
def list_keys(*, fleet_folder: Path, as_json: bool) -> None:
    """List the roles, the keys of each, and which of them are here.

    NEEDS is how many keys must sign. No passphrase is needed.
    """
    files = {file.key.keyid: file for file in KeyFolder(fleet_folder / "keys").files()}
    states = Repository.open(fleet_folder / "repository").roles()
    if as_json:
        print_json([_role_document(state, files) for state in states])
        return
    rows = [_HEADINGS, *(row for state in states for row in _rows(state, files))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    used = {keyid for state in states for keyid in state.keys.keyids}
    for keyid in files.keys() - used:
        click.echo(f"{files[keyid].path}: signs for no role; destroy it", err=True)


@command.command(name="add")
@click.argument("role")
@click.option(
    "--threshold",
    type=click.IntRange(min=1),
    help="How many keys of the role must sign from now on (as before by default).",
)
@click.option("--new", is_flag=True, help="ROLE is stage-NAME of a stage to be made.")
@keys_option
@fleet_option
@passphrase_option
@json_option
def add_key(  # noqa: PLR0913 - one parameter for each option
    *,
    role: str,
    threshold: int | None,
    new: bool,
    elsewhere: tuple[Path, ...],
    fleet_folder: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make one more key for ROLE, beside those it has.

    With --threshold 2, say, two people must sign from now on.
    """
    locksmith = _locksmith(fleet_folder, passphrase_file, elsewhere)
    if new:
        stage = role.removeprefix("stage-")
        _say(locksmith.add_stage(stage, stage_role(stage)), as_json=as_json)
    else:
        _say(locksmith.add(role, threshold=threshold), as_json=as_json)


@command.command(name="rotate")
@click.argument("role")
@click.option("--key", "keyid", help="Which key goes, where the role has several.")
@keys_option
@fleet_option
@passphrase_option
@json_option
def rotate_key(  # noqa: PLR0913 - one parameter for each option
    *,
    role: str,
    keyid: str | None,
    elsewhere: tuple[Path, ...],
    fleet_folder: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Make a new key for ROLE and revoke the one it replaces.

    Devices refuse what the old key signs as soon as they see the change. This is also
    how a stolen key is answered.
    """
    locksmith = _locksmith(fleet_folder, passphrase_file, elsewhere)
    _say(locksmith.rotate(role, keyid=keyid), as_json=as_json)


@command.command(name="renew")
@click.argument("roles", nargs=-1)
@keys_option
@fleet_option
@passphrase_option
@json_option
def renew_signatures(
    *,
    roles: tuple[str, ...],
    elsewhere: tuple[Path, ...],
    fleet_folder: Path,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Sign ROLES anew before they expire; snapshot and timestamp by default.

    A release renews them too. A fleet without releases needs this once in 30 days, or
    its devices report stale metadata.
    """
    locksmith = _locksmith(fleet_folder, passphrase_file, elsewhere)
    done = locksmith.repository.renew(
        signers=locksmith.signers(), now=locksmith.now, roles=roles or ONLINE_ROLES
    )
    if as_json:
        print_json({"signed_by": _signed_by(done)})
        return
    for role, keyids in _signed_by(done).items():
        click.echo(f"{role}: signed by {', '.join(short(keyid) for keyid in keyids)}")


def _locksmith(
    fleet_folder: Path, passphrase_file: Path | None, elsewhere: tuple[Path, ...]
) -> Locksmith:
    repository = Repository.open(fleet_folder / "repository")
    return Locksmith(
        repository=repository,
        folder=KeyFolder(fleet_folder / "keys"),
        passphrase=read_passphrase(passphrase_file),
        now=datetime.now(UTC),
        elsewhere=tuple(KeyFolder(folder) for folder in elsewhere),
    )


def _say(rotated: Rotated, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "key": rotated.made.key.keyid,
                "file": str(rotated.made.path),
                "revoked": rotated.revoked,
                "signed_by": _signed_by(rotated.publication),
            }
        )
        return
    click.echo(f"{rotated.made.path}: key {short(rotated.made.key.keyid)}")
    if rotated.revoked:
        click.echo(f"key {short(rotated.revoked)} no longer signs; destroy it", err=True)


def _signed_by(publication: Publication) -> dict[str, list[str]]:
    return {role: list(keyids) for role, keyids in publication.signed_by.items()}


def _rows(state: RoleState, files: dict[str, KeyFile]) -> list[tuple[str, ...]]:
    return [
        (
            state.role,
            f"{state.keys.threshold} of {len(state.keys.keys)}",
            short(keyid),
            files[keyid].path.name if keyid in files else "not here",
            str(state.version),
            f"{state.expires:%Y-%m-%d}",
        )
        for keyid in state.keys.keyids
    ]


def _role_document(state: RoleState, files: dict[str, KeyFile]) -> dict[str, object]:
    return {
        "role": state.role,
        "threshold": state.keys.threshold,
        "version": state.version,
        "expires": state.expires.strftime(TIME_FORMAT),
        "keys": [
            {"id": keyid, "file": str(files[keyid].path) if keyid in files else None}
            for keyid in state.keys.keyids
        ],
    }
