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


def saturates(board: Board) -> bool:
    """Whether a board's processor adds products of uint8 and int8 in 16 bits."""
    return board.arch == _X86 and not any("vnni" in feature for feature in board.isa)


def processor_saturates(machine: str, cpuinfo: str) -> bool:
    """Tell it of a machine, from platform.machine() and the text of /proc/cpuinfo."""
    return machine == _X86 and "vnni" not in cpuinfo
