"""Where things lie in a fleet folder. Knows names, and opens nothing by itself.

fleet.toml     what the operator decided       keys/        encrypted private keys
ledger.db      what was released               repository/  what the depot serves
fleet.db       what devices report             flavors/     conversions, a cache
devices/       provisioning files              boards/      profiles of your own boards
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit import atomic, board
from edgekit.board import Board
from edgekit.errors import ConfigError, StoreError
from edgekit.fleet import book, config
from edgekit.fleet.book import Book
from edgekit.fleet.config import FleetConfig
from edgekit.release import ledger
from edgekit.release.ledger import Ledger
from edgekit.statement import slug
from edgekit.trust.keys import KeyFolder, SignerLookup
from edgekit.trust.payload import Signer
from edgekit.trust.repository import Repository

_TOML = ".toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFolder:
    """The folder that `edgekit init` made."""

    path: Path

    def config(self) -> FleetConfig:
        """Read fleet.toml, or raise ConfigError."""
        return config.load(self.path)

    def keys(self) -> KeyFolder:
        """Return the folder of key files."""
        return KeyFolder(self.path / "keys")

    def signers(self, passphrase: str, elsewhere: Sequence[Path] = ()) -> SignerLookup:
        """Return a look-up over the keys here and in other folders."""
        folders = (self.keys(), *map(KeyFolder, elsewhere))
        lookups = [keys.signers(passphrase) for keys in folders]

        def look_up(keyid: str) -> Signer | None:
            found = (lookup(keyid) for lookup in lookups)
            return next((signer for signer in found if signer is not None), None)

        return look_up

    def repository(self) -> Repository:
        """Open the signed repository, verified."""
        return Repository.open(self.path / "repository")

    def ledger(self) -> Ledger:
        """Open the ledger."""
        return Ledger(self._existing() / ledger.FILE_NAME)

    def book(self) -> Book:
        """Open the book of devices."""
        return Book(self._existing() / book.FILE_NAME)

    @property
    def flavors(self) -> Path:
        """The cache of conversions."""
        return self.path / "flavors"

    def provisioning_file(self, device: str) -> Path:
        """Return where a device's provisioning file is kept."""
        return self.path / "devices" / f"{slug(device)}{_TOML}"

    def receipt_key_file(self, device: str) -> Path:
        """Return where the key is written that a device signs its receipts with."""
        return self.path / "devices" / f"{slug(device)}.receipt.key"

    def board(self, name_or_path: str) -> Board:
        """Return one of this fleet's own boards, or a shipped one, or the one at a path."""
        own = self._own_board(name_or_path)
        return board.load(str(own) if own.is_file() else name_or_path)

    def adopt_board(self, name_or_path: str) -> Board:
        """Return a board; one given by path is copied here, to be found by its name."""
        found = self.board(name_or_path)
        if name_or_path.endswith(_TOML):
            own = self._own_board(found.name)
            try:
                own.parent.mkdir(exist_ok=True)
                content = Path(name_or_path).read_bytes()
            except OSError as error:
                raise StoreError(f"{own.parent}: {error.strerror}") from error
            atomic.write_bytes(own, content)
        return found

    def keep_board(self, name: str, profile: str) -> Path:
        """Write this fleet's own profile of a board, and return where."""
        own = self._own_board(name)
        try:
            own.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"{own.parent}: {error.strerror}") from error
        atomic.write_bytes(own, profile.encode())
        return own

    def _own_board(self, name: str) -> Path:
        return self.path / "boards" / f"{slug(name)}{_TOML}"

    def _existing(self) -> Path:
        """A database is never made outside a fleet."""
        if not (self.path / config.FILE_NAME).is_file():
            raise ConfigError(
                f"{self.path}: no {config.FILE_NAME} here; name the fleet's folder with"
                " --fleet, or make one with `edgekit init`"
            )
        return self.path
