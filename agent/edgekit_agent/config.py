"""agent.toml: what one device was told when it was enrolled. Knows its keys, not effects.

Unknown keys are refused with the nearest spelling. docs/formats/agent.md lists the keys.
This is also the only file of the agent that reads environment variables.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from pathlib import Path

from edgekit.address import BrokerAddress
from edgekit.document import Reader, read_toml, refuse_unknown
from edgekit.errors import ConfigError
from edgekit.trust.layout import FLEET_FIELD, ROOT
from edgekit_agent.staleness import Staleness
from edgekit_agent.subscription import Subscription

FORMAT = 1
DEFAULT_PATH = Path("/etc/edgekit/agent.toml")
CONFIG_VARIABLE = "EDGEKIT_AGENT_CONFIG"
ENFORCEMENTS = ("strict", "mlflow", "off")  # edgekit.schema's, which needs numpy to import
SOCKET_NAME = "agent.sock"
MAX_MODELS = 64
MAX_RUNTIME_DIR_BYTES = 87  # Linux allows a socket 107, and it is made under a longer name
_KB = 2**10
_MB = 2**20
_MOST_PREFIX_LEVELS = 4  # four more follow, and AWS IoT Core allows seven slashes
_MOST_PREFIX_CHARS = 100
_TERMS = ("least_agreement", "most_difference")  # of shadow scoring


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all models may take here: RAM of the process that serves, flash of bundles."""

    model_ram_bytes: int
    model_flash_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Where the device's owner puts programs that are asked, and how long each may take."""

    folder: Path
    limit_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """How many of the last real inputs of a model are kept in memory, 0: none."""

    rows: int
    most_bytes: int


class Place(StrEnum):
    """Where models run."""

    OWN = "own"  # in a process that can die alone
    SHARED = "shared"  # in the agent's: less memory, and it dies of what they do


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How programs may ask besides the socket: at a port of loopback, over the broker.

    `process` is where models run, `limit_s` what one may compute for a request.
    """

    port: int | None
    mqtt: bool
    process: Place = Place.OWN
    limit_s: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One device's provisioning file. `root` is the trusted root of its fleet, as JSON."""

    fleet: str
    device: str
    board: str
    arch: str
    state_dir: Path
    runtime_dir: Path
    enforcement: str
    telemetry_interval_s: int
    root: bytes
    staleness: Staleness
    broker: BrokerAddress
    limits: Limits
    hooks: Hooks
    serving: Serving
    shadow: Shadow
    models: tuple[Subscription, ...]
    receipt_key_file: Path | None = None  # the device's own key, for signing receipts
    telemetry_spool_kb: int = 1024
    telemetry_kb_per_day: int = 4096
    home_assistant: str | None = None  # the prefix under which it looks for devices

    @property
    def telemetry_spool_bytes(self) -> int:
        """What windows may take of the disk until the fleet has them."""
        return self.telemetry_spool_kb * _KB

    @property
    def telemetry_bytes_a_day(self) -> int:
        """What windows may take of the network in a day."""
        return self.telemetry_kb_per_day * _KB

    def ram_bytes(self, model: str) -> int:
        """Return what a process may take that serves this model alone."""
        own = self.subscription(model).ram_bytes
        return min(own or self.limits.model_ram_bytes, self.limits.model_ram_bytes)

    def flash_bytes(self, model: str) -> int:
        """Return what the bundles of this model may take."""
        own = self.subscription(model).flash_bytes
        return min(own or self.limits.model_flash_bytes, self.limits.model_flash_bytes)

    @property
    def socket(self) -> Path:
        """Where the device's own programs ask for predictions."""
        return self.runtime_dir / SOCKET_NAME

    def subscription(self, model: str) -> Subscription:
        """Return the subscription of a model, or raise ConfigError."""
        for found in self.models:
            if found.model == model:
                return found
        known = ", ".join(found.model for found in self.models)
        raise ConfigError(f"model {model}: this device does not serve it; it has {known}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What the process was started with, besides its arguments."""

    config: Path
    notify_socket: str | None  # systemd listens there
    watchdog_s: float | None  # systemd restarts us after this silence

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> "Environment":
        """Read the environment variables; an unusable watchdog interval counts as none."""
        usec = variables.get("WATCHDOG_USEC", "")
        return cls(
            config=Path(variables.get(CONFIG_VARIABLE) or DEFAULT_PATH),
            notify_socket=variables.get("NOTIFY_SOCKET") or None,
            watchdog_s=int(usec) / 1e6 if usec.isdecimal() else None,
        )


def load(path: Path) -> Config:
    """Read the provisioning file at `path`, or raise ConfigError."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; `edgekit device enroll` writes it on the operator's"
            " machine, copy it here or name it with --config"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    config = parse(text, subject=str(path))
    key = config.receipt_key_file
    return replace(config, receipt_key_file=key and path.absolute().parent / key)


def parse(text: str, *, subject: str) -> Config:
    """Parse a provisioning file, or raise ConfigError saying what to fix."""
    table = read_toml(text, subject=subject, error=ConfigError)
    known = {*Config.__dataclass_fields__, "format"}
    refuse_unknown(table, known, subject=subject, error=ConfigError)
    reader = Reader(table=table, subject=subject, error=ConfigError)
    reader.integer("format", least=FORMAT, most=FORMAT)
    broker = reader.child("broker")
    return Config(
        fleet=_name(reader, "fleet"),
        device=_name(reader, "device"),
        board=_name(reader, "board"),
        arch=reader.text("arch", ""),
        state_dir=_folder(reader, "state_dir", "/var/lib/edgekit"),
        runtime_dir=_runtime_dir(reader),
        enforcement=reader.one_of("enforcement", ENFORCEMENTS, ENFORCEMENTS[0]),
        telemetry_interval_s=reader.integer(
            "telemetry_interval_s", 60, least=1, most=86_400
        ),
        root=_root(reader),
        staleness=Staleness(reader.one_of("staleness", Staleness, Staleness.REFUSE)),
        broker=BrokerAddress.from_table(broker.table, subject=broker.subject),
        limits=_limits(reader.child("limits")),
        hooks=_hooks(reader.child("hooks", optional=True)),
        serving=_serving(reader.child("serving", optional=True)),
        shadow=_shadow(reader.child("shadow", optional=True)),
        models=_models(reader),
        receipt_key_file=_optional_path(reader, "receipt_key_file"),
        telemetry_spool_kb=reader.integer(
            "telemetry_spool_kb", 1024, least=128, most=1_048_576
        ),
        telemetry_kb_per_day=reader.integer(
            "telemetry_kb_per_day", 4096, least=16, most=1_048_576
        ),
        home_assistant=_topic_prefix(reader, "home_assistant"),
    )


def _name(reader: Reader, key: str) -> str:
    name = reader.text(key)
    if not name.strip():
        reader.fail(key, "a text that is not empty")
    if not name.isprintable():
        reader.fail(key, "a text without line breaks and control characters")
    return name


def _root(reader: Reader) -> bytes:
    """Return the trusted root, if it says that it is one, of this fleet.

    Whether it is rightly signed is found out by who can: edgekit.trust.client.
    """
    data = reader.text("root").encode()
    subject = f"{reader.subject}: root"
    root = Reader.from_json(data, subject=subject, error=ConfigError)
    signed = root.child("signed")
    if signed.text("_type", "") != ROOT:
        signed.fail("_type", f'"{ROOT}"')
    if signed.text(FLEET_FIELD, "") != reader.text("fleet"):
        signed.fail(FLEET_FIELD, f"the fleet of this file, {reader.text('fleet')!r},")
    return data


def _folder(reader: Reader, key: str, default: str) -> Path:
    folder = Path(reader.text(key, default))
    if not folder.is_absolute():
        reader.fail(key, "an absolute path")
    return folder


def _optional_path(reader: Reader, key: str) -> Path | None:
    """Return a path; a relative one starts at the folder of the provisioning file."""
    return Path(_name(reader, key)) if key in reader.table else None


def _topic_prefix(reader: Reader, key: str) -> str | None:
    """Return the beginning of topics, None where there is none."""
    if key not in reader.table:
        return None
    prefix = _name(reader, key)
    levels = prefix.split("/")
    odd = set("+#") & set(prefix) or prefix.startswith("$") or not all(levels)
    if odd or len(levels) > _MOST_PREFIX_LEVELS or len(prefix) > _MOST_PREFIX_CHARS:
        reader.fail(key, 'a topic of one to four levels without + and #, "homeassistant",')
    return prefix


def _runtime_dir(reader: Reader) -> Path:
    folder = _folder(reader, "runtime_dir", "/run/edgekit")
    if len(os.fsencode(folder)) > MAX_RUNTIME_DIR_BYTES:
        limit = f"a path of at most {MAX_RUNTIME_DIR_BYTES} bytes, as a socket lies in it,"
        reader.fail("runtime_dir", limit)
    return folder


def _limits(reader: Reader) -> Limits:
    known = {"model_ram_mb", "model_flash_mb"}
    refuse_unknown(reader.table, known, subject=reader.subject, error=ConfigError)
    return Limits(
        model_ram_bytes=reader.integer("model_ram_mb", least=1) * _MB,
        model_flash_bytes=reader.integer("model_flash_mb", least=1) * _MB,
    )


def _serving(reader: Reader) -> Serving:
    known = {"port", "mqtt", "process", "time_limit_s"}
    refuse_unknown(reader.table, known, subject=reader.subject, error=ConfigError)
    has_port = "port" in reader.table
    return Serving(
        port=reader.integer("port", least=1, most=65_535) if has_port else None,
        mqtt=reader.flag("mqtt", default=False),
        process=Place(reader.one_of("process", Place, Place.OWN)),
        limit_s=reader.integer("time_limit_s", 30, least=1, most=3600),
    )


def _hooks(reader: Reader) -> Hooks:
    known = {"dir", "time_limit_s"}
    refuse_unknown(reader.table, known, subject=reader.subject, error=ConfigError)
    return Hooks(
        folder=_folder(reader, "dir", "/etc/edgekit/hooks"),
        limit_s=reader.integer("time_limit_s", 60, least=1, most=3600),
    )


def _shadow(reader: Reader) -> Shadow:
    known = {"rows", "max_kb"}
    refuse_unknown(reader.table, known, subject=reader.subject, error=ConfigError)
    return Shadow(
        rows=reader.integer("rows", 200, most=100_000),
        most_bytes=reader.integer("max_kb", 256, least=1, most=65_536) * _KB,
    )


def _models(reader: Reader) -> tuple[Subscription, ...]:
    entries = reader.children("models")
    if not 0 < len(entries) <= MAX_MODELS:
        reader.fail("models", f"a list of 1 to {MAX_MODELS} tables [[models]]")
    found = tuple(_subscription(entry) for entry in entries)
    if len({one.model for one in found}) < len(found):
        reader.fail("models", "each model once, in one stage,")
    return found


def _subscription(reader: Reader) -> Subscription:
    known = {"name", "stage", "ram_mb", "flash_mb", *_TERMS}
    refuse_unknown(reader.table, known, subject=reader.subject, error=ConfigError)
    return Subscription(
        model=_name(reader, "name"),
        stage=_name(reader, "stage"),
        ram_bytes=_optional_mb(reader, "ram_mb"),
        flash_bytes=_optional_mb(reader, "flash_mb"),
        least_agreement=_optional_number(reader, "least_agreement", most=1.0),
        most_difference=_optional_number(reader, "most_difference"),
    )


def _optional_number(reader: Reader, key: str, most: float = inf) -> float | None:
    if key not in reader.table:
        return None
    number = reader.number(key)
    if not 0 <= number <= most:
        reader.fail(
            key, f"a number from 0 to {most:g}" if most < inf else "a number from 0"
        )
    return number


def _optional_mb(reader: Reader, key: str) -> int | None:
    return reader.integer(key, least=1) * _MB if key in reader.table else None
