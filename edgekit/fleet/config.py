"""fleet.toml: what an operator decided about a fleet. Knows its keys, not their effects.

Unknown keys are refused with the nearest spelling. docs/formats/fleet.md lists the keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from edgekit import atomic
from edgekit.address import BrokerAddress
from edgekit.conversion import AUTO, DEFAULT_MAX_DROP, LARGEST_MAX_DROP, METRICS
from edgekit.document import Reader, read_toml, refuse_unknown
from edgekit.errors import ConfigError
from edgekit.registry.uri import Selector

FORMAT = 1
FILE_NAME = "fleet.toml"
_HEADER = """\
# What this fleet is: its broker, its registry, and which MLflow alias or stage each of
# its stages follows. Paths start at this file's folder; but sqlite:/// without a folder,
# as MLflow has it, where a command runs.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Where models come from; `uri` None leaves it to MLFLOW_TRACKING_URI.

    `trust_pickle` lets every conversion of this fleet load formats that execute code.
    """

    uri: str | None = None
    trust_pickle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSettings:
    """What every release converts for, besides the boards of enrolled devices.

    `max_drop` says how much worse than the original a flavor may be, in the unit of the
    metric it is judged by: 0.005 is half a percent of the rows. With `proven_only` the
    samples must be enough to prove it.
    """

    boards: tuple[str, ...] = ()
    max_drop: float = DEFAULT_MAX_DROP
    proven_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What is known of one registered model: rows to measure with, and how.

    See edgekit.conversion.ConversionRequest.
    """

    samples: Path | None = None
    target: str | None = None
    metric: str = AUTO
    score: str = AUTO
    group: str | None = None
    profile: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """A fleet, as its operator wrote it down. `stages` maps a stage to its selector."""

    fleet: str
    broker: BrokerAddress
    stages: Mapping[str, Selector]
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)


def load(folder: Path) -> FleetConfig:
    """Read the fleet.toml of a fleet folder, or raise ConfigError."""
    path = folder / FILE_NAME
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder}: no {FILE_NAME} here; make a fleet with `edgekit init {folder}`, or"
            " name its folder with --fleet"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse(text, subject=str(path), folder=folder)


def write(folder: Path, config: FleetConfig) -> None:
    """Write the fleet.toml of a fleet folder, whole or not at all."""
    text = _HEADER + tomli_w.dumps(to_table(config, folder=folder))
    atomic.write_bytes(folder / FILE_NAME, text.encode())


def parse(text: str, *, subject: str, folder: Path) -> FleetConfig:
    """Parse fleet.toml; relative paths in it start at `folder`."""
    table = read_toml(text, subject=subject, error=ConfigError)
    known = {"format", "fleet", "broker", "registry", "stages", "release", "models"}
    refuse_unknown(table, known, subject=subject, error=ConfigError)
    reader = Reader(table=table, subject=subject, error=ConfigError)
    reader.integer("format", least=FORMAT, most=FORMAT)
    return FleetConfig(
        fleet=_name(reader, "fleet"),
        broker=_broker(reader.child("broker"), folder),
        stages=_stages(reader),
        registry=_registry(reader.child("registry", optional=True)),
        release=_release(reader.child("release", optional=True)),
        models={
            name: _model(entry, folder)
            for name, entry in reader.named("models", optional=True).items()
        },
    )


def to_table(config: FleetConfig, *, folder: Path) -> dict[str, object]:
    """Return the table that `parse` reads."""
    registry: dict[str, object] = {"trust_pickle": config.registry.trust_pickle}
    if config.registry.uri is not None:
        registry = {"uri": config.registry.uri, **registry}
    table: dict[str, object] = {
        "format": FORMAT,
        "fleet": config.fleet,
        "broker": _broker_table(config.broker, folder),
        "registry": registry,
        "stages": {name: {"selector": str(s)} for name, s in config.stages.items()},
        "release": {
            "boards": list(config.release.boards),
            "max_drop": config.release.max_drop,
            **({"proven_only": True} if config.release.proven_only else {}),
        },
    }
    if config.models:
        table["models"] = {n: _model_table(m, folder) for n, m in config.models.items()}
    return table


def _name(reader: Reader, key: str) -> str:
    name = reader.text(key)
    if not name.strip():
        reader.fail(key, "a name")
    return name


def _broker(reader: Reader, folder: Path) -> BrokerAddress:
    table = {
        key: str(folder / value) if _is_file(key) and isinstance(value, str) else value
        for key, value in reader.table.items()
    }
    return BrokerAddress.from_table(table, subject=reader.subject)


def _broker_table(address: BrokerAddress, folder: Path) -> dict[str, str]:
    return {
        key: _from_folder(Path(value), folder) if _is_file(key) else value
        for key, value in address.to_table().items()
    }


def _is_file(key: str) -> bool:
    return key.endswith("_file")


def _from_folder(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _stages(reader: Reader) -> dict[str, Selector]:
    stages = {}
    for name, entry in reader.named("stages").items():
        refuse_unknown(entry.table, {"selector"}, subject=entry.subject, error=ConfigError)
        stages[name] = Selector.parse(entry.text("selector"), subject=entry.subject)
    if not stages:
        reader.fail("stages", "at least one table such as [stages.production]")
    return stages


def _registry(reader: Reader) -> RegistrySettings:
    known = RegistrySettings.__dataclass_fields__
    refuse_unknown(reader.table, known, subject=reader.subject, error=ConfigError)
    return RegistrySettings(
        uri=reader.text("uri") if "uri" in reader.table else None,
        trust_pickle=reader.flag("trust_pickle", default=False),
    )


def _release(reader: Reader) -> ReleaseSettings:
    known = ReleaseSettings.__dataclass_fields__
    refuse_unknown(reader.table, known, subject=reader.subject, error=ConfigError)
    max_drop = reader.number("max_drop", DEFAULT_MAX_DROP)
    if not 0 <= max_drop < LARGEST_MAX_DROP:
        reader.fail(
            "max_drop",
            f"a share from 0 to less than {LARGEST_MAX_DROP} (0.005 is half a percent)",
        )
    return ReleaseSettings(
        boards=reader.texts("boards", ()),
        max_drop=max_drop,
        proven_only=reader.flag("proven_only", default=False),
    )


def _model(reader: Reader, folder: Path) -> ModelSettings:
    known = ModelSettings.__dataclass_fields__
    refuse_unknown(reader.table, known, subject=reader.subject, error=ConfigError)
    return ModelSettings(
        samples=folder / reader.text("samples") if "samples" in reader.table else None,
        target=reader.text("target") if "target" in reader.table else None,
        metric=reader.one_of("metric", METRICS, AUTO),
        score=reader.text("score", AUTO),
        group=reader.text("group") if "group" in reader.table else None,
        profile=reader.flag("profile", default=True),
    )


def _model_table(settings: ModelSettings, folder: Path) -> dict[str, object]:
    table: dict[str, object] = {}
    if settings.samples is not None:
        table["samples"] = _from_folder(settings.samples, folder)
    if settings.target is not None:
        table["target"] = settings.target
    if settings.metric != AUTO:
        table["metric"] = settings.metric
    if settings.score != AUTO:
        table["score"] = settings.score
    if settings.group is not None:
        table["group"] = settings.group
    if not settings.profile:
        table["profile"] = False
    return table
