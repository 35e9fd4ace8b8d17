"""The provisioning file: all that one device must be told before it starts.

Knows the keys that edgekit-agent reads, and holds no secret: it names the files of those
by their paths on the device. docs/formats/agent.md lists the keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import tomli_w

from edgekit.address import BrokerAddress
from edgekit.board import Board
from edgekit.errors import ConfigError

FORMAT = 1
DEFAULT_STATE_DIR = "/var/lib/edgekit"
DEFAULT_RUNTIME_DIR = "/run/edgekit"
ENFORCEMENTS = ("strict", "mlflow", "off")
STALENESSES = ("refuse", "accept", "stop")  # as edgekit_agent.staleness has them
MAX_NAME_CHARACTERS = 100
MAX_RUNTIME_DIR_BYTES = 87  # as edgekit-agent has it: a Unix socket's path is short
_HEADER = """\
# What one device is told when it is enrolled. Copy it to the device as
# /etc/edgekit/agent.toml; `edgekit-agent run` reads it. The trusted root below is public:
# what must be protected is that nobody replaces it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """One device, as it will know itself. `models` are (registered model, stage) pairs.

    Folders and the broker's files are paths on the device.
    """

    fleet: str
    device: str
    board: Board
    broker: BrokerAddress
    root: bytes
    models: Sequence[tuple[str, str]]
    state_dir: str = DEFAULT_STATE_DIR
    runtime_dir: str = DEFAULT_RUNTIME_DIR
    enforcement: str = ENFORCEMENTS[0]
    telemetry_interval_s: int = 60
    staleness: str = STALENESSES[0]
    receipt_key_file: str | None = None  # beside the file, or an absolute path

    def __post_init__(self) -> None:
        """Refuse what the agent would refuse, with ConfigError."""
        if not self.device.strip() or not self.device.isprintable():
            raise ConfigError(f"device {self.device!r}: a printable name is expected")
        if len(self.device) > MAX_NAME_CHARACTERS:
            raise ConfigError(
                f"device {self.device[:20]}…: {len(self.device)} characters, up to"
                f" {MAX_NAME_CHARACTERS} are expected"
            )
        if not self.models:
            raise ConfigError(
                f"device {self.device}: no models to follow; name one with"
                " --model NAME:STAGE"
            )
        names = [model for model, _ in self.models]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"device {self.device}: a model is there twice; one stage of each is"
                " expected"
            )
        if len(self.runtime_dir.encode()) > MAX_RUNTIME_DIR_BYTES:
            raise ConfigError(
                f"device {self.device}: {self.runtime_dir}: a path of at most"
                f" {MAX_RUNTIME_DIR_BYTES} bytes is expected, as a socket lies in it"
            )
        for folder in (self.state_dir, self.runtime_dir):
            if not PurePosixPath(folder).is_absolute():
                raise ConfigError(
                    f"device {self.device}: {folder}: an absolute path is expected"
                )

    def to_toml(self) -> str:
        """Return the file."""
        table: dict[str, object] = {
            "format": FORMAT,
            "fleet": self.fleet,
            "device": self.device,
            "board": self.board.name,
            "arch": self.board.arch,
            "state_dir": self.state_dir,
            "runtime_dir": self.runtime_dir,
            "enforcement": self.enforcement,
            "telemetry_interval_s": self.telemetry_interval_s,
            "staleness": self.staleness,
            **self._receipts(),
            "root": self.root.decode(),
            "broker": self.broker.to_table(),
            "limits": {
                "model_ram_mb": self.board.model_ram_mb,
                "model_flash_mb": self.board.model_flash_mb,
            },
            "models": [{"name": model, "stage": stage} for model, stage in self.models],
        }
        return _HEADER + tomli_w.dumps(table, multiline_strings=True)

    def _receipts(self) -> dict[str, str]:
        key = self.receipt_key_file
        return {} if key is None else {"receipt_key_file": key}
