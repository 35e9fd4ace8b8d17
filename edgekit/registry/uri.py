"""What a model URI asks for. Knows MLflow's grammar, and not whether the model exists.

The grammar is that of MLflow's model registry (`models:/` and `runs:/` URIs): a version
is all digits, `latest` is reserved, any other suffix is a stage in any case, and `@` is
followed by an alias, whose case counts. Names may hold spaces and any script.
"""

import difflib
from dataclasses import dataclass
from enum import StrEnum

from edgekit.errors import ConfigError, EdgekitError, RegistryError

STAGES = ("None", "Staging", "Production", "Archived")
_FORMS = (
    "models:/NAME/VERSION, models:/NAME/STAGE, models:/NAME@ALIAS, models:/NAME/latest"
    " or runs:/RUN_ID/PATH"
)
_STAGE_PREFIX = "stage:"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionUri:
    """One version of a registered model."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUri:
    """The newest version in a stage, spelt as MLflow spells the stage."""

    name: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasUri:
    """The version that an alias points at."""

    name: str
    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestUri:
    """The newest version, whatever its stage."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUri:
    """A model that a run logged; it may never have been registered."""

    run_id: str
    path: str


ModelUri = VersionUri | StageUri | AliasUri | LatestUri | RunUri


class SelectorKind(StrEnum):
    """How a stage of the fleet finds its version in the registry."""

    ALIAS = "alias"
    STAGE = "stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which version of any model a fleet's stage wants: an alias or an MLflow stage."""

    kind: SelectorKind
    name: str

    @classmethod
    def parse(cls, text: str, *, subject: str) -> "Selector":
        """Parse "@production" or "stage:Production", or raise ConfigError."""
        if text.startswith("@") and len(text) > 1:
            return cls(kind=SelectorKind.ALIAS, name=text[1:])
        if text.startswith(_STAGE_PREFIX):
            stage = _stage(text.removeprefix(_STAGE_PREFIX), subject, ConfigError)
            return cls(kind=SelectorKind.STAGE, name=stage)
        raise ConfigError(
            f'{subject}: {text!r}: an alias ("@production") or a stage'
            ' ("stage:Production") is expected'
        )

    def __str__(self) -> str:
        """Return what `parse` reads."""
        if self.kind is SelectorKind.ALIAS:
            return f"@{self.name}"
        return f"{_STAGE_PREFIX}{self.name}"

    def uri(self, model: str) -> str:
        """Return the URI of the version of `model` that is wanted."""
        if self.kind is SelectorKind.ALIAS:
            return f"models:/{model}@{self.name}"
        return f"models:/{model}/{self.name}"


def parse(uri: str) -> ModelUri:
    """Parse a model URI, or raise RegistryError showing the forms that exist."""
    scheme, _, rest = uri.partition(":/")
    parts = rest.strip("/").split("/")
    if scheme == "runs" and len(parts) > 1 and all(parts):
        return RunUri(run_id=parts[0], path="/".join(parts[1:]))
    if scheme != "models" or not all(part.strip() for part in parts):
        raise _improper(uri)
    match parts:
        case [name, suffix]:
            return _suffixed(uri, name, suffix)
        case [only] if "@" in only:
            name, _, alias = only.rpartition("@")
            if not name.strip() or not alias.strip():
                raise _improper(uri)
            return AliasUri(name=name, alias=alias)
        case _:
            raise _improper(uri)


def model_name(uri: str) -> str:
    """Return the registered model's name in a URI; RegistryError where it has none."""
    wanted = parse(uri)
    if isinstance(wanted, RunUri):
        raise RegistryError(
            f"{uri}: not a registered version, only those are released; register it with"
            " mlflow.register_model()"
        )
    return wanted.name


def _suffixed(uri: str, name: str, suffix: str) -> ModelUri:
    if suffix.isdecimal():
        return VersionUri(name=name, version=str(int(suffix)))
    if suffix.lower() == "latest":
        return LatestUri(name=name)
    return StageUri(name=name, stage=_stage(suffix, uri, RegistryError))


def _stage(text: str, subject: str, error: type[EdgekitError]) -> str:
    for known in STAGES:
        if known.lower() == text.lower():
            return known
    near = difflib.get_close_matches(text.title(), STAGES, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise error(
        f"{subject}: {text!r} is no MLflow stage; {hint}Staging, Production and Archived"
        " exist, and any other name is an alias, written with @"
    )


def _improper(uri: str) -> RegistryError:
    return RegistryError(f"{uri}: not a model URI; {_FORMS} is expected")
