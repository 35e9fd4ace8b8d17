"""`edgekit keys`: who signs for which role. Knows options and output, no rules."""

from pathlib import Path

import click

from edgekit.cli import pending
from edgekit.cli.key_changes import (
    Place,
    carry_out,
    carry_out_renewal,
    change_options,
    origin_options,
    theirs_option,
)
from edgekit.cli.options import (
    fleet_option,
    json_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.errors import ConfigError
from edgekit.trust.keys import KeyFile, KeyFolder, Origin, public_pem
from edgekit.trust.layout import TIME_FORMAT, short
from edgekit.trust.repository import Repository, RoleState
from edgekit.trust.roles import refuse_no_role
from edgekit.trust.rotation import Add, Found, Replace, Revoke

_HEADINGS = ("ROLE", "NEEDS", "KEY", "FILE", "VERSION", "EXPIRES")


@click.group(name="keys")
def command() -> None:
    """Say which keys sign for the fleet, and replace them.

    A role signs one kind of thing: models says which bundles exist, stage-NAME what a
    stage runs, snapshot and timestamp keep it fresh, targets and root name the keys of
    the others. Replacing a key of models or of a stage, or adding a stage, takes the key
    of targets; replacing one of targets, snapshot, timestamp or root takes the key of root.
    With --dry-run a change only says what it would sign, and who would have to. With
    --propose it becomes a file that several people sign, each on a machine of their own.

    \b
    Example, where the keys of root are Ada's and Bob's, and Carol is to have one:
      edgekit keys make root --folder ~/keys > carol.pub      Carol, who sends carol.pub
      edgekit keys add root --theirs carol.pub --propose      whoever has the fleet
      edgekit sign keys-root.json --keys ~/keys               Ada, then Bob
      edgekit publish fleet/pending/keys-root.json            whoever has the fleet
    """  # noqa: D301 - click's mark for lines that stay as they are


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
    proposed = pending.proposed_keys(fleet_folder)
    for keyid in sorted(files.keys() - used, key=lambda keyid: files[keyid].path):
        if keyid in proposed:
            fact = f"keep it: it is to sign once {proposed[keyid]} is published"
        else:
            fact = "signs for no role; destroy it"
        click.echo(f"{files[keyid].path}: {fact}", err=True)


@command.command(name="make")
@click.argument("role")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Your own folder of key files.",
)
@passphrase_option
def make_key(*, role: str, folder: Path, passphrase_file: Path | None) -> None:
    """Make a key of your own for ROLE, on your own machine; print its public half.

    It signs for nothing yet. Give what is printed to whoever runs `edgekit keys add ROLE
    --propose --theirs FILE`, and sign the proposal that comes of it with `edgekit sign`.
    Tell the key's id, on standard error, by another way: who signs compares it.

    \b
    Example:
      edgekit keys make root --folder ~/keys > bob.pub
    """  # noqa: D301 - click's mark for lines that stay as they are
    refuse_no_role(role)
    secret = read_passphrase(passphrase_file, confirm=True)
    made = KeyFolder(folder).generate(role, passphrase=secret)
    click.echo(f"{made.path}: key {made.key.keyid}", err=True)
    click.echo(public_pem(made), nl=False)


@command.command(name="add")
@click.argument("role")
@click.option(
    "--threshold",
    type=click.IntRange(min=1),
    help="How many keys of the role must sign from now on (as before by default).",
)
@click.option("--new", is_flag=True, help="ROLE is stage-NAME of a stage to be made.")
@origin_options
@theirs_option
@change_options
def add_key(  # noqa: PLR0913 - one parameter for each option
    *,
    role: str,
    threshold: int | None,
    new: bool,
    origin: Origin | None,
    theirs: Path | None,
    place: Place,
    propose: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let one more key sign for ROLE, beside those it has.

    It is made here, unless --signer says where it is, or --theirs whose it is. With
    --threshold 2, say, two people must sign from now on. With --new the fleet gets a
    stage more, and its role this one key; the stage also needs its lines in fleet.toml.

    \b
    Examples:
      edgekit keys add stage-production --threshold 2
      edgekit keys add root --theirs bob.pub --propose
      edgekit keys add stage-canary --new --theirs carol.pub --propose
    """  # noqa: D301 - click's mark for lines that stay as they are
    if new and threshold not in {None, 1}:
        raise ConfigError(
            f"--threshold {threshold}: a new stage begins with one key; add the others"
            " afterwards, and the threshold with them"
        )
    carry_out(
        Found(role=role) if new else Add(role=role, threshold=threshold),
        place,
        origin=origin,
        theirs=theirs,
        propose=propose,
        dry_run=dry_run,
        as_json=as_json,
    )


@command.command(name="rotate")
@click.argument("role")
@click.option(
    "--key", "keyid", default="", help="Which key goes, where the role has several."
)
@origin_options
@theirs_option
@change_options
def rotate_key(  # noqa: PLR0913 - one parameter for each option
    *,
    role: str,
    keyid: str,
    origin: Origin | None,
    theirs: Path | None,
    place: Place,
    propose: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a new key for ROLE and revoke the one it replaces.

    Devices refuse what the old key signs as soon as they see the change. This is also
    how a stolen key is answered.
    """
    carry_out(
        Replace(role=role, keyid=keyid),
        place,
        origin=origin,
        theirs=theirs,
        propose=propose,
        dry_run=dry_run,
        as_json=as_json,
    )


@command.command(name="revoke")
@click.argument("role")
@click.option(
    "--key", "keyid", default="", help="Which key goes, where the role has several."
)
@click.option(
    "--threshold",
    type=click.IntRange(min=1),
    help="How many keys of the role must sign from now on (as before by default).",
)
@change_options
def revoke_key(  # noqa: PLR0913 - one parameter for each option
    *,
    role: str,
    keyid: str,
    threshold: int | None,
    place: Place,
    propose: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let a key of ROLE sign no more, without a new one for it.

    For a person who leaves, say. It is refused where fewer keys would be left than must
    sign.
    """
    change = Revoke(role=role, keyid=keyid, threshold=threshold)
    carry_out(change, place, origin=None, propose=propose, dry_run=dry_run, as_json=as_json)


@command.command(name="renew")
@click.argument("roles", nargs=-1)
@change_options
def renew_signatures(
    *, roles: tuple[str, ...], place: Place, propose: bool, dry_run: bool, as_json: bool
) -> None:
    """Sign ROLES anew before they expire; snapshot and timestamp by default.

    A release renews them too. A fleet without releases needs this once in 30 days, or
    its devices report stale metadata. The other roles need it once a year; `edgekit keys
    list` says until when each holds. Where their keys are on other machines, --propose
    makes a file that the holders sign and `edgekit publish` offers; nothing but dates
    changes by it.

    \b
    Examples:
      edgekit keys renew
      edgekit keys renew root targets --propose
    """  # noqa: D301 - click's mark for lines that stay as they are
    carry_out_renewal(roles, place, propose=propose, dry_run=dry_run, as_json=as_json)


def _rows(state: RoleState, files: dict[str, KeyFile]) -> list[tuple[str, ...]]:
    return [
        (
            state.role,
            f"{state.keys.threshold} of {len(state.keys.keys)}",
            short(keyid),
            _place(files.get(keyid)),
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


def _place(file: KeyFile | None) -> str:
    if file is None:
        return "not here"
    return file.path.name if file.origin is None else f"{file.path.name}: {file.origin.uri}"
