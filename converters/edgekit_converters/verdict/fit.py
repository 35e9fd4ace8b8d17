"""Choose the flavor for each board: the smallest that fits. Pure; knows no ONNX, no files.

A flavor that loses nothing, or is proven to lose little enough, goes before one that so
few samples could not prove: the smallest of many unproven ones is only the luckiest
(docs/adr/0018-what-is-not-proven-comes-last.md).

Memory was measured on the machine that converts, so on another processor it is an
estimate; a device checks again before it loads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgekit.board import Board
from edgekit.errors import BoardError

_MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an accepted flavor asks of a board. The model is stored beside its bundle.

    `sure` when it is lossless or proven. `contributed` are operators that ONNX does not
    have ("com.microsoft.Gelu"), whose domain a board must allow.
    """

    flavor: str
    bundle_bytes: int
    model_bytes: int
    peak_rss_bytes: int
    min_onnxruntime: str
    sure: bool = True
    contributed: tuple[str, ...] = ()
    isas: tuple[str, ...] = ()  # one of which the processor must have; (): any will do

    @property
    def flash_bytes(self) -> int:
        """What a device stores: the bundle, and the model unpacked from it."""
        return self.bundle_bytes + self.model_bytes


def misfits(board: Board, need: Need) -> tuple[str, ...]:
    """Say what stands against a flavor on a board, each with by how much; () if it fits."""
    found = []
    for what, needed, given in (
        ("memory", need.peak_rss_bytes, board.model_ram_mb * _MB),
        ("flash", need.flash_bytes, board.model_flash_mb * _MB),
    ):
        if needed > given:
            found.append(
                f"{what} {_megabytes(needed)} MB, {_megabytes(given)} MB are there"
                f" ({_megabytes(needed - given)} MB too much)"
            )
    if _version(need.min_onnxruntime) > _version(board.onnxruntime):
        found.append(
            f"onnxruntime {need.min_onnxruntime}, the board runs {board.onnxruntime}"
        )
    if need.isas and not set(need.isas) & set(board.isa):
        has = ", ".join(board.isa) or "none of them"
        found.append(
            f"{' or '.join(need.isas)} for the arithmetic that was judged, it has {has}"
        )
    beyond = {
        operator: domain
        for operator in need.contributed
        for domain in [operator.rpartition(".")[0]]
        if domain not in board.allow_domains
    }
    if beyond:
        found.append(
            f"{', '.join(beyond)}, which ONNX does not have; allow_domains ="
            f" {_listed(*board.allow_domains, *dict.fromkeys(beyond.values()))} in the"
            " board's profile allows such operators, if its onnxruntime has them"
        )
    return tuple(found)


def fitting(board: Board, needs: Sequence[Need]) -> tuple[Need, ...]:
    """Return the flavors that fit a board: sure ones, then others, the smallest first."""
    fits = [need for need in needs if not misfits(board, need)]
    return tuple(
        sorted(fits, key=lambda need: (not need.sure, need.flash_bytes, need.flavor))
    )


def choose(
    boards: Sequence[Board],
    needs: Sequence[Need],
    *,
    refusal: Callable[[Board, Need], str] = lambda _board, _need: "",
) -> Mapping[str, str]:
    """Return board -> flavor: the first of `fitting` that `refusal` lets pass.

    `refusal` says why a flavor that fits must not go to a board, "" when it may; it is
    asked in that order, and no further than needed. BoardError names every board
    that nothing fits.
    """
    choices: dict[str, str] = {}
    troubles: list[str] = []
    for board in boards:
        refused: list[str] = []
        for need in fitting(board, needs):
            reason = refusal(board, need)
            if not reason:
                choices[board.name] = need.flavor
                break
            refused.append(f"{need.flavor}: {reason}")
        else:
            troubles.append(_trouble(board, needs, refused))
    if troubles:
        raise BoardError("; ".join(troubles))
    return choices


def _trouble(board: Board, needs: Sequence[Need], refused: Sequence[str]) -> str:
    if refused:
        return f"board {board.name}: no flavor runs there; {', '.join(refused)}"
    nearest = min(needs, key=lambda need: (len(misfits(board, need)), need.peak_rss_bytes))
    reasons = ", ".join(misfits(board, nearest))
    return (
        f"board {board.name}: no flavor fits; the nearest, {nearest.flavor},"
        f" needs {reasons}"
    )


def _listed(*names: str) -> str:
    """Write a TOML list."""
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _megabytes(size: int) -> str:
    return f"{size / _MB:.1f}" if size >= _MB / 10 else f"{size / _MB:.3f}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
