"""`edgekit sign`: add a signature to what somebody else proposed. Needs no fleet folder."""

from pathlib import Path

import click

from edgekit import atomic
from edgekit.cli import proposals
from edgekit.cli.options import (
    json_option,
    passphrase_option,
    print_json,
    read_passphrase,
)
from edgekit.errors import ConfigError
from edgekit.trust.key_proposal import parse
from edgekit.trust.keys import KeyFolder
from edgekit.trust.payload import Signer


@click.command(name="sign")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--keys",
    "folders",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    required=True,
    metavar="FOLDER",
    help="The folder with your own key files. Repeatable.",
)
@click.option(
    "--root",
    "root_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The fleet's root.json that you trust: a proposal of another fleet, or one from"
    " before this root, is refused.",
)
@click.option("--yes", is_flag=True, help="Sign without asking.")
@passphrase_option
@json_option
def command(  # noqa: PLR0913 - one argument for each option
    *,
    file: Path,
    folders: tuple[Path, ...],
    root_file: Path | None,
    yes: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> None:
    """Sign a pending release or change of keys with your own key, on your machine.

    FILE is what `edgekit release` or `edgekit rollback` wrote where a stage needs several
    signatures, or `edgekit keys` with --propose. It holds no secret and needs no fleet
    folder: what would change is told from signed metadata in it. Without --root, compare
    the ids of the root's keys, and of keys that come, with those their holders tell you
    by another way. Send the file back with your signature in it; `edgekit publish` offers
    it to the devices when it has all it needs.

    \b
    Example:
      edgekit sign wine-7-production.json --keys ~/keys
    """  # noqa: D301 - click's mark for lines that stay as they are
    if as_json and not yes:
        raise ConfigError("--json: it shows nothing that could be agreed to; add --yes")
    sent = proposals.content(file)
    proposal = parse(sent)
    if root_file is not None:
        proposal.refuse_other_root(root_file.read_bytes())
    if not as_json:
        proposals.show(proposal)
    if proposal.complete:
        raise ConfigError(f"{file}: it has all signatures; `edgekit publish` is next")
    if not yes:
        click.confirm("Sign this?", abort=True, err=True)
    keys = [KeyFolder(folder) for folder in folders]
    passphrase = read_passphrase(passphrase_file)
    lookups = [folder.signers(passphrase) for folder in keys]

    def look_up(keyid: str) -> Signer | None:
        found = (lookup(keyid) for lookup in lookups)
        return next((signer for signer in found if signer is not None), None)

    signed = proposal.sign(look_up)
    if proposals.content(file) != sent:
        raise ConfigError(f"{file}: it has changed since it was shown; sign it again")
    atomic.write_bytes(file, signed.to_json())
    if as_json:
        print_json(proposals.document(signed, file))
        return
    missing = proposals.missing(signed)
    told = f"{missing} more to come" if missing else "nothing is missing"
    click.echo(f"signed: {file}; {told}")
