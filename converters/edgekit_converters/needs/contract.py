"""What stands against a graph on a board, and what to do about it. Pure.

Opsets and IR version come from the table of onnxruntime's versions, operators from ONNX's
schemas, memory from the estimate: nothing is loaded. A board that allows a domain of
contributed operators takes the risk that its next onnxruntime changes them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import ModelProto

from edgekit import runtime
from edgekit.board import Board
from edgekit_converters.needs.operators import (
    Used,
    contributed,
    opsets,
    shown,
    strange,
    unregistered,
)
from edgekit_converters.runtimes import supported

_MB = 2**20
_ML_DOMAIN = "ai.onnx.ml"
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """One reason why a graph will not run on a board, and the way out."""

    fact: str
    remedy: str

    def __str__(self) -> str:
        """Return both as one sentence."""
        return f"{self.fact}: {self.remedy}"


def clashes(model: ModelProto, board: Board) -> tuple[Clash, ...]:
    """Return what keeps the board's onnxruntime from running the graph, () if nothing."""
    return (
        *_versions(model, board),
        *_contributed(model, board),
        *_unregistered(model),
    )


def hungry(*, peak_bytes: int, file_bytes: int, board: Board) -> tuple[Clash, ...]:
    """Return what is too large for the board: the peak in memory, the file in flash."""
    ram, flash = board.model_ram_mb * _MB, board.model_flash_mb * _MB
    found = []
    if peak_bytes > ram:
        found.append(
            Clash(
                fact=f"memory {peak_bytes / _MB:.1f} MB at its peak (estimated),"
                f" {board.model_ram_mb} MB are there",
                remedy="`edgekit convert --quantize` looks for a flavor that takes less,"
                " or train a smaller model",
            )
        )
    if file_bytes > flash:
        found.append(
            Clash(
                fact=f"{file_bytes / _MB:.1f} MB, the board gives {board.model_flash_mb} MB"
                " of flash",
                remedy="`edgekit convert --quantize` makes smaller flavors",
            )
        )
    return tuple(found)


def beyond_onnx(model: ModelProto) -> tuple[str, ...]:
    """Return the contributed operators ("com.microsoft.Gelu") that a board must allow."""
    return tuple(map(_name, contributed(model)))


def _versions(model: ModelProto, board: Board) -> Iterator[Clash]:
    most = supported(board.onnxruntime)
    known = opsets(model)
    for domain, limit in (("", most.opset), (_ML_DOMAIN, most.ml_opset)):
        if known.get(domain, 0) > limit:
            yield Clash(
                fact=f"opset {known[domain]} of {shown(domain)} > {limit} of onnxruntime"
                f" {board.onnxruntime}",
                remedy=f"export with opset {limit}",
            )
    if model.ir_version > most.ir_version:
        yield Clash(
            fact=f"IR version {model.ir_version} > {most.ir_version} of onnxruntime"
            f" {board.onnxruntime}",
            remedy=f"save it with ir_version {most.ir_version}, which an opset of that time"
            " allows",
        )


def _contributed(model: ModelProto, board: Board) -> Iterator[Clash]:
    unknown = strange(model)
    for one in contributed(model)[:_SHOWN]:
        if one in unknown:
            yield Clash(
                fact=f"{_name(one)}: no operator of ONNX, nor of onnxruntime"
                f" {runtime.version()}",
                remedy="replace it by ONNX's own operators, or export the function that it"
                " stands for with the model",
            )
        elif one.domain not in board.allow_domains:
            yield Clash(
                fact=f"{_name(one)}: no operator of ONNX, and {board.name} allows none of"
                f" {one.domain}",
                remedy="export the model before onnxruntime's optimiser rewrites it, or add"
                f' allow_domains = ["{one.domain}"] to the profile if its onnxruntime has'
                " it",
            )


def _unregistered(model: ModelProto) -> Iterator[Clash]:
    known = opsets(model)
    for one in unregistered(model)[:_SHOWN]:
        yield Clash(
            fact=f"{_name(one)}: ONNX has no such operator at opset"
            f" {known.get(one.domain, 0)}",
            remedy="export with another opset, or write it with operators that exist",
        )


def _name(one: Used) -> str:
    return f"{shown(one.domain)}.{one.name}"
