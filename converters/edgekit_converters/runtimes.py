"""Which ONNX each onnxruntime runs: the one table that opsets are chosen from.

From onnxruntime's compatibility page (onnxruntime.ai/docs/reference/compatibility.html),
and from 1.16 on tried: the newest each release from 1.16.3 to 1.31.1 agreed to load of a
one-node model stamped with rising versions. The ai.onnx.ml column is stricter where
a kernel came later than the opset (TreeEnsemble 5 runs from 1.21 on, by experiment).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.board import Board
from edgekit.errors import ConversionError

PREFERRED_OPSET = 17  # what skl2onnx and tf2onnx are best tested with


@dataclass(frozen=True, slots=True, kw_only=True)
class Supported:
    """The newest versions that an onnxruntime runs."""

    opset: int  # of ai.onnx
    ml_opset: int  # of ai.onnx.ml
    ir_version: int


_TABLE: tuple[tuple[tuple[int, int], Supported], ...] = (
    ((1, 13), Supported(opset=17, ml_opset=3, ir_version=8)),
    ((1, 14), Supported(opset=18, ml_opset=3, ir_version=8)),
    ((1, 15), Supported(opset=19, ml_opset=3, ir_version=8)),
    ((1, 16), Supported(opset=19, ml_opset=3, ir_version=9)),
    ((1, 17), Supported(opset=20, ml_opset=4, ir_version=9)),
    ((1, 18), Supported(opset=21, ml_opset=4, ir_version=10)),
    ((1, 21), Supported(opset=22, ml_opset=5, ir_version=10)),
    ((1, 23), Supported(opset=23, ml_opset=5, ir_version=11)),
    ((1, 24), Supported(opset=25, ml_opset=5, ir_version=13)),
    ((1, 25), Supported(opset=26, ml_opset=5, ir_version=13)),
)


def supported(onnxruntime: str) -> Supported:
    """Return what a version ("1.20" or "1.20.1") runs; newer run what older do."""
    try:
        version = tuple(int(part) for part in onnxruntime.split(".")[:2])
    except ValueError as error:
        raise ConversionError(
            f"onnxruntime {onnxruntime}: a version like 1.20 is expected"
        ) from error
    fitting = [versions for since, versions in _TABLE if since <= version]
    if not fitting:
        oldest = ".".join(str(part) for part in _TABLE[0][0])
        raise ConversionError(
            f"onnxruntime {onnxruntime}: {oldest} or newer is expected on every board"
        )
    return fitting[-1]


def common(boards: Sequence[Board]) -> Supported:
    """Return what every one of these boards runs; with no board, the newest known."""
    each = [supported(board.onnxruntime) for board in boards] or [_TABLE[-1][1]]
    return Supported(
        opset=min(one.opset for one in each),
        ml_opset=min(one.ml_opset for one in each),
        ir_version=min(one.ir_version for one in each),
    )


def oldest(*, opset: int, ml_opset: int, ir_version: int) -> str:
    """Return the oldest known version ("1.16") that runs such a model."""
    for (major, minor), known in _TABLE:
        enough = known.opset >= opset and known.ml_opset >= ml_opset
        if enough and known.ir_version >= ir_version:
            return f"{major}.{minor}"
    newest = _TABLE[-1][1]
    raise ConversionError(
        f"model: opset {opset}, ai.onnx.ml {ml_opset}, IR {ir_version}; the newest"
        f" onnxruntime known here runs {newest.opset}, {newest.ml_opset} and"
        f" {newest.ir_version}"
    )
