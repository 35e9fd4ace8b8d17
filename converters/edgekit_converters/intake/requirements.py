"""What a logged model says it needs: the packages of its author. Installs nothing.

Read from requirements.txt, else the pip part of conda.yaml, as MLflow writes them beside
MLmodel. Only plain pins (`name[extras]==version`) are taken: an option, an index, a path,
an address or a marker in such a file is its author's wish about this machine.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from edgekit.errors import ConversionError

MAX_BYTES = 2**20
MAX_LINES = 1_000
_REQUIREMENTS = "requirements.txt"
_CONDA = "conda.yaml"
_PYTHON_ENV = "python_env.yaml"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_PIN = re.compile(
    rf"(?P<name>{_NAME})(?P<extras>\[{_NAME}(?:\s*,\s*{_NAME})*\])?\s*"
    r"==\s*(?P<version>[0-9][0-9A-Za-z.]*)(?P<local>\+[0-9A-Za-z.]+)?"
)
_PYTHON = re.compile(r"(?P<minor>3\.\d{1,2})(?:\.\d{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One package in one version; `name` is normalised (PEP 503)."""

    name: str
    version: str
    extras: str = ""

    def __str__(self) -> str:
        """Return it as pip reads it."""
        return f"{self.name}{self.extras}=={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """The pins of a model, the lines that were left out, and its Python ("3.9", or "")."""

    pins: tuple[Pin, ...]
    left_out: tuple[str, ...] = ()
    python: str = ""


def read(folder: Path) -> Requirements | None:
    """Return what an MLflow model folder asks for, None if it does not say.

    ConversionError for a file that is damaged or endless.
    """
    conda = _yaml(folder / _CONDA)
    lines = _lines(folder / _REQUIREMENTS)
    if lines is None:
        lines = _pip_part(conda)
    if lines is None:
        return None
    wanted = [line for line in map(_bare, lines) if line]
    pins = {pin.name: pin for pin in map(_pin, wanted) if pin is not None}
    return Requirements(
        pins=tuple(pins.values()),
        left_out=tuple(line for line in wanted if _pin(line) is None),
        python=_python(_yaml(folder / _PYTHON_ENV), conda),
    )


def normal(name: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _pin(line: str) -> Pin | None:
    found = _PIN.fullmatch(line)
    if found is None:
        return None
    return Pin(
        name=normal(found["name"]),
        version=found["version"],
        extras=re.sub(r"\s", "", found["extras"] or ""),
    )


def _bare(line: str) -> str:
    """Return a line without its comment."""
    return re.sub(r"(^|\s)#.*$", "", line).strip()


def _lines(path: Path) -> list[str] | None:
    text = _text(path)
    if text is None:
        return None
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise ConversionError(
            f"{path.name}: {len(lines)} lines, at most {MAX_LINES} are read"
        )
    return lines


def _pip_part(conda: Mapping[object, object]) -> list[str] | None:
    for entry in _list(conda.get("dependencies")):
        if isinstance(entry, dict) and "pip" in entry:
            return [str(line) for line in _list(entry["pip"])][:MAX_LINES]
    return None


def _python(env: Mapping[object, object], conda: Mapping[object, object]) -> str:
    said = [str(env.get("python", ""))]
    for entry in _list(conda.get("dependencies")):
        name, _, version = str(entry).partition("=")
        if name.strip() == "python":
            said.append(version.strip("= "))
    matches = [_PYTHON.fullmatch(text) for text in said]
    return next((found["minor"] for found in matches if found is not None), "")


def _list(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()


def _yaml(path: Path) -> Mapping[object, object]:
    text = _text(path)
    try:
        document = None if text is None else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConversionError(f"{path.name}: not YAML: {error}") from error
    return document if isinstance(document, dict) else {}


def _text(path: Path) -> str | None:
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        raise ConversionError(f"{path.name}: more than {MAX_BYTES} bytes, not read")
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path.name}: cannot be read: {error}") from error
