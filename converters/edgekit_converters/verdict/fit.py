"""Choose the flavor for each board: the smallest that fits. Pure; knows no ONNX, no files.

Memory was measured on the machine that converts, so on another processor it is an
estimate; a device checks again before it loads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.board import Board
from edgekit.errors import BoardError

_MB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an accepted flavor asks of a board. The model is stored beside its bundle."""

    flavor: str
    bundle_bytes: int
    model_bytes: int
    peak_rss_bytes: int
    min_onnxruntime: str

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
    return tuple(found)


def fitting(board: Board, needs: Sequence[Need]) -> tuple[Need, ...]:
    """Return the flavors that fit a board, the smallest first."""
    fits = [need for need in needs if not misfits(board, need)]
    return tuple(sorted(fits, key=lambda need: (need.flash_bytes, need.flavor)))


def choose(boards: Sequence[Board], needs: Sequence[Need]) -> Mapping[str, str]:
    """Return board -> flavor; BoardError naming every board that nothing fits."""
    choices: dict[str, str] = {}
    troubles: list[str] = []
    for board in boards:
        fits = fitting(board, needs)
        if fits:
            choices[board.name] = fits[0].flavor
        else:
            troubles.append(_trouble(board, needs))
    if troubles:
        raise BoardError("; ".join(troubles))
    return choices


def _trouble(board: Board, needs: Sequence[Need]) -> str:
    nearest = min(needs, key=lambda need: (len(misfits(board, need)), need.peak_rss_bytes))
    reasons = ", ".join(misfits(board, nearest))
    return (
        f"board {board.name}: no flavor fits; the nearest, {nearest.flavor},"
        f" needs {reasons}"
    )


def _megabytes(size: int) -> str:
    return f"{size / _MB:.1f}" if size >= _MB / 10 else f"{size / _MB:.3f}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
