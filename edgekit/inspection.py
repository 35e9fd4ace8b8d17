"""The inspector port: what a graph is made of, and whether it runs on a board.

Knows no ONNX. The implementation is the distribution edgekit-converters, found through
the entry point group `edgekit.converters`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from edgekit.board import Board
from edgekit.conversion import GROUP
from edgekit.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator and how often it occurs. `since` is the opset of its form, 0: unknown."""

    domain: str
    name: str
    count: int
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output; a dimension is a number, or a name where any length goes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The constants of one element type together."""

    dtype: str
    tensors: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One constant."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The estimated peak of a process that serves one row at a time, and its parts."""

    floor_bytes: int  # onnxruntime and numpy, no session
    session_bytes: int
    loading_bytes: int  # the most that is held while the session is made
    trees_bytes: int
    activations_bytes: int
    load_peak_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One reason why it will not run on a board, and what to do about it."""

    fact: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether it runs on one board, as far as the file tells."""

    board: str
    onnxruntime: str
    troubles: tuple[Trouble, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing stands against it."""
        return not self.troubles


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a model file says about itself. Nothing of it was run."""

    path: Path
    producer: str
    file_bytes: int
    ir_version: int
    opsets: Mapping[str, int]  # "ai.onnx" written out
    operators: tuple[Operator, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weights: tuple[Weights, ...]
    largest: tuple[Tensor, ...]
    memory: Memory
    min_onnxruntime: str  # "" where none known here runs it
    contributed: tuple[str, ...]  # operators that ONNX does not have, but a runtime may
    remarks: tuple[str, ...]
    fits: tuple[Fit, ...]


Inspector = Callable[[Path, Sequence[Board]], Inspection]


def installed() -> Inspector:
    """Return the installed inspector, or raise ConfigError naming what to install."""
    for found in entry_points(group=GROUP, name="inspect"):
        return cast("Inspector", found.load())
    raise ConfigError(
        "nothing that reads ONNX is installed here: pip install 'edgekit-core[convert]'"
    )
