"""Say under which integer arithmetic a verdict was found, and where it differs. Pure.

Only x86-64 processors without VNNI compute differently: they add products of uint8 and
int8 in 16 bits, which saturate. Weights stored as uint8 avoid it, and so does a session
option that onnxruntime heeds on those processors alone.
"""

from collections.abc import Mapping, Sequence

from onnx import ModelProto

from edgekit.board import Board
from edgekit_converters.passes.quantised import (
    EXACT_OPTION,
    integer_operators,
    may_saturate,
)

_X86 = "x86_64"
EXACT_ISAS = ("neon", "vnni")


def semantics(
    model: ModelProto,
    session_options: Mapping[str, str],
    boards: Sequence[Board],
    *,
    measured_saturating: bool,
) -> str:
    """Say what the verdict holds for, in one sentence for the report."""
    if not integer_operators(model):
        return "float32 arithmetic"
    if not may_saturate(model):
        return (
            "exact integer arithmetic, the same on aarch64 and x86-64: its weights cannot"
            " saturate, with or without VNNI"
        )
    if EXACT_OPTION.items() <= dict(session_options).items():
        return (
            "exact integer arithmetic, the same on aarch64 and x86-64: the session option"
            " x64quantprecision=1 keeps x86-64 without VNNI from saturating"
        )
    if measured_saturating:
        return (
            "saturating integer arithmetic: this x86-64 has no VNNI, and its int8 weights"
            " overflow 16 bits; aarch64 and x86-64 with VNNI answer otherwise"
        )
    others = [board.name for board in boards if saturates(board)]
    where = f": {', '.join(others)}" if others else ""
    return (
        "exact integer arithmetic; x86-64 without VNNI would saturate on its int8 weights"
        f"{where}"
    )


def needed_isas(
    model: ModelProto, session_options: Mapping[str, str], *, measured_saturating: bool
) -> tuple[str, ...]:
    """Return the vector extensions, one of which a processor must have for the verdict.

    None where any processor answers alike. Where exact arithmetic was judged, and only x86
    without VNNI would saturate, the others are named by what each of them has: NEON, which
    every aarch64 has, or VNNI. A verdict found under saturation can be asked of no
    extension: none is had only by such processors.
    """
    exact = EXACT_OPTION.items() <= dict(session_options).items()
    if exact or measured_saturating or not may_saturate(model):
        return ()
    return EXACT_ISAS


def saturates(board: Board) -> bool:
    """Whether a board's processor adds products of uint8 and int8 in 16 bits."""
    return board.arch == _X86 and not any("vnni" in feature for feature in board.isa)


def processor_saturates(machine: str, cpuinfo: str) -> bool:
    """Tell it of a machine, from platform.machine() and the text of /proc/cpuinfo."""
    return machine == _X86 and "vnni" not in cpuinfo
