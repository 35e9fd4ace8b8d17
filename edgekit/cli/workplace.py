"""Open the operator's side of a fleet, as the options of a command say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgekit.cli.talk import account
from edgekit.fleet.folder import FleetFolder
from edgekit.release.workplace import Workplace


@contextmanager
def open_workplace(
    folder: FleetFolder, *, passphrase: str, elsewhere: Sequence[Path] = ()
) -> Iterator[Workplace]:
    """Yield the workplace of the account that runs the command; the ledger is closed after.

    Keys are looked up in the fleet's folder and in those `elsewhere`.
    """
    with folder.ledger() as ledger:
        yield Workplace(
            repository=folder.repository(),
            ledger=ledger,
            flavors=folder.flavors,
            signers=folder.signers(passphrase, elsewhere),
            who=account(),
        )
