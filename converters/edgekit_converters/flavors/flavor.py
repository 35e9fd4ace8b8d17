"""What a flavor's builder is given, and what it answers. Knows no way to store a weight."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from edgekit.table import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A faithful, cleaned float32 model, and ONNX inputs like those it will see.

    `calibration` are feeds, [rows, ...] each, for flavors that must know the range of
    inner values.
    """

    model: ModelProto
    calibration: Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A flavor, not yet cleaned, encoded or judged.

    `note` is one clause about what was done, for the report.
    """

    model: ModelProto
    note: str
    session_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoesNotApply:
    """The flavor has nothing to gain on this model, and why."""

    reason: str


Builder = Callable[[Source], Built | DoesNotApply]
