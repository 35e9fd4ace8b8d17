"""Options, dry run and outcome of a change of keys, for `edgekit keys`. Knows no rules."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from edgekit.cli import pending, proposals
from edgekit.cli.key_preview import say_preview, sums
from edgekit.cli.options import (
    fleet_option,
    json_option,
    keys_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.cli.talk import plain
from edgekit.errors import ConfigError
from edgekit.fleet import config
from edgekit.fleet.folder import FleetFolder
from edgekit.statement import stage_role
from edgekit.trust.key_proposal import KeyProposal
from edgekit.trust.keys import KeyFolder, Origin, public_key
from edgekit.trust.layout import short
from edgekit.trust.repository import Repository
from edgekit.trust.revision import Publication
from edgekit.trust.rotation import Changed, KeyChange, Locksmith

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where keys and repository are, and what opens the keys."""

    fleet: Path
    elsewhere: tuple[Path, ...]
    passphrase_file: Path | None

    def locksmith(self, origin: Origin | None) -> Locksmith:
        """Return what changes keys; asks for the passphrase."""
        return self._locksmith(origin, read_passphrase(self.passphrase_file))

    def onlooker(self) -> Locksmith:
        """Return what can only preview; asks for nothing."""
        return self._locksmith(None, "")

    def _locksmith(self, origin: Origin | None, passphrase: str) -> Locksmith:
        return Locksmith(
            repository=Repository.open(self.fleet / "repository"),
            folder=KeyFolder(self.fleet / "keys"),
            passphrase=passphrase,
            now=datetime.now(UTC),
            elsewhere=tuple(KeyFolder(folder) for folder in self.elsewhere),
            origin=origin,
        )


def change_options(function: Command) -> Command:
    """Add --dry-run, and where the keys are: the parameter `place`."""

    @click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
    @click.option(
        "--propose",
        is_flag=True,
        help="Change nothing yet: write a file for `edgekit sign` and `edgekit publish`.",
    )
    @keys_option
    @fleet_option
    @passphrase_option
    @json_option
    @functools.wraps(function)
    def wrapped(
        *,
        elsewhere: tuple[Path, ...],
        fleet_folder: Path,
        passphrase_file: Path | None,
        **rest: object,
    ) -> None:
        place = Place(
            fleet=fleet_folder, elsewhere=elsewhere, passphrase_file=passphrase_file
        )
        function(place=place, **rest)

    return wrapped  # type: ignore[return-value]  # click calls it by its options


def origin_options(function: Command) -> Command:
    """Add --signer and what belongs to it: the parameter `origin`."""

    @click.option(
        "--signer",
        metavar="URI",
        help="The private key is elsewhere: hsm:ID?label=TOKEN for a PKCS#11 token,"
        " awskms:, gcpkms:, azurekms: or hv: for a key service.",
    )
    @click.option(
        "--public-key",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="Its public half in PEM; a token tells its own.",
    )
    @click.option(
        "--pin-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="First line is the token's PIN, at each use.  [default: the passphrase is]",
    )
    @functools.wraps(function)
    def wrapped(
        *,
        signer: str | None,
        public_key: Path | None,
        pin_file: Path | None,
        **rest: object,
    ) -> None:
        if signer is None and (public_key or pin_file):
            raise ConfigError("--public-key and --pin-file: they belong to a --signer")
        origin = None
        if signer is not None:
            public = public_key.read_bytes() if public_key else None
            origin = Origin(uri=signer, public=public, pin_file=pin_file)
        function(origin=origin, **rest)

    return wrapped  # type: ignore[return-value]  # click calls it by its options


def theirs_option(function: Command) -> Command:
    """Add --theirs: the parameter `theirs`."""
    return click.option(
        "--theirs",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        metavar="FILE",
        help="The new key is another person's: FILE is its public half, which `edgekit keys"
        " make` prints. With --propose.",
    )(function)


def carry_out(  # noqa: PLR0913 - one parameter for each option
    change: KeyChange,
    place: Place,
    *,
    origin: Origin | None,
    theirs: Path | None = None,
    propose: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Change keys, propose to, or only say what that would do."""
    if theirs is not None and (origin is not None or not propose):
        raise ConfigError("--theirs: it belongs to --propose, and to no --signer")
    if dry_run:
        preview = place.onlooker().preview(change)
        say_preview(preview, _devices(place.fleet, preview.role), as_json=as_json)
    elif propose:
        key = None if theirs is None else public_key(theirs)
        with place.locksmith(origin).proposed(change, theirs=key) as proposal:
            path, standing = pending.keep(place.fleet, proposal)
        proposals.say_pending(standing, path, as_json=as_json)
    else:
        say_changed(place.locksmith(origin).change(change), as_json=as_json)


def carry_out_renewal(
    roles: Sequence[str], place: Place, *, propose: bool, dry_run: bool, as_json: bool
) -> None:
    """Sign roles anew, propose to, or only say what that would do."""
    if dry_run:
        say_preview(place.onlooker().preview_renewal(roles), None, as_json=as_json)
    elif propose:
        proposal = place.locksmith(None).proposed_renewal(roles)
        path, standing = pending.keep(place.fleet, proposal)
        proposals.say_pending(standing, path, as_json=as_json)
    else:
        say_signed(place.locksmith(None).renew(roles), as_json=as_json)


def say_changed(changed: Changed, *, as_json: bool) -> None:
    """Print what was done."""
    made = changed.made
    if as_json:
        print_json(
            {
                "key": made.key.keyid if made else None,
                "file": str(made.path) if made else None,
                "revoked": changed.revoked,
                "signed_by": signed_by(changed.publication),
            }
        )
        return
    if made:
        click.echo(f"{made.path}: key {short(made.key.keyid)}")
    if changed.revoked:
        click.echo(f"key {short(changed.revoked)} no longer signs; destroy it", err=True)


def publish_keys(proposal: KeyProposal, place: Place, *, as_json: bool) -> None:
    """Let a proposal's keys sign from now on, and say so."""
    locksmith = place.locksmith(None)
    done = locksmith.repository.publish_keys(
        proposal, signers=locksmith.signers(), now=locksmith.now
    )
    if as_json or not proposal.key_changes():
        say_signed(done, as_json=as_json)
        return
    for change in proposal.key_changes():
        click.echo(plain(f"{change.role}: {sums(change.after)} from now on"))
        before = change.before.keyids if change.before else ()
        for keyid in sorted(set(before) - set(change.after.keyids)):
            told = f"key {short(keyid)} no longer signs; destroy it"
            click.echo(plain(told), err=True)


def say_signed(done: Publication, *, as_json: bool) -> None:
    """Print which keys signed each role."""
    if as_json:
        print_json({"signed_by": signed_by(done)})
        return
    for role, keyids in signed_by(done).items():
        names = ", ".join(short(keyid) for keyid in keyids)
        click.echo(plain(f"{role}: signed by {names}"))


def signed_by(publication: Publication) -> dict[str, list[str]]:
    """Return which keys signed each role, as JSON has it."""
    return {role: list(keyids) for role, keyids in publication.signed_by.items()}


def _devices(fleet: Path, role: str) -> list[str] | None:
    """Return the devices that a role concerns; None where no device can be known."""
    if not (fleet / config.FILE_NAME).is_file():
        return None
    with FleetFolder(path=fleet).book() as book:
        return [
            device.name
            for device in book.devices()
            if not role.startswith("stage-")
            or role in {stage_role(stage) for _, stage in device.models}
        ]
