"""`edgekit inspect`: what a graph is made of, and whether it runs on some boards.

Options, one call of the installed inspector, and its output; decides nothing.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click

from edgekit import board, inspection
from edgekit.cli.options import json_option, print_json
from edgekit.errors import BoardError
from edgekit.inspection import Fit, Inspection, Memory, Port

_MB = 2**20
_UNKNOWN = "no onnxruntime that edgekit knows"


@click.command(name="inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--board",
    "boards",
    multiple=True,
    metavar="BOARD",
    help="A board it must run on: a name of `edgekit boards list` or a .toml. Repeatable.",
)
@json_option
def command(*, model: Path, boards: tuple[str, ...], as_json: bool) -> None:
    """Say what an ONNX model is made of, what it takes, and what will not run where.

    MODEL is an .onnx file, a bundle, a flavor's folder of `edgekit convert`, or an MLflow
    model folder with the onnx flavor. Nothing is run or loaded: the file is read, and
    compared with ONNX's schemas and the boards' profiles. Memory is an estimate for one
    row at a time.

    \b
    Example:
      edgekit inspect model.onnx --board raspberry-pi-zero-2-w

    Exit code 5: it is damaged or no ONNX. 6: it does not fit one of the boards.
    """  # noqa: D301 - click's mark for lines that stay as they are
    profiles = tuple(board.load(name) for name in boards)
    found = inspection.installed()(model, profiles)
    if as_json:
        print_json(_document(found))
    else:
        for line in _lines(found):
            click.echo(line)
    unfit = [fit.board for fit in found.fits if not fit.fits]
    if unfit:
        raise BoardError(f"{model.name}: it does not fit {', '.join(unfit)}")


def _document(found: Inspection) -> dict[str, object]:
    document = dataclasses.asdict(found)
    document["path"] = str(found.path)
    for written, fit in zip(document["fits"], found.fits, strict=True):
        written["fits"] = fit.fits
    return document


def _lines(found: Inspection) -> Iterator[str]:
    opsets = ", ".join(f"{domain} {n}" for domain, n in sorted(found.opsets.items()))
    yield f"{found.path.name}: {found.file_bytes:,} bytes, IR {found.ir_version}, {opsets}"
    if found.producer:
        yield f"  made by     {found.producer}"
    yield f"  needs       {_runtime(found)}"
    for heading, ports in (("input", found.inputs), ("output", found.outputs)):
        for port in ports:
            yield f"  {heading:<11} {_port(port)}"
    yield from _section(
        "operators",
        (
            f"{o.count:>6,}  {o.domain}.{o.name}  "
            + (f"since {o.since}" if o.since else "no operator of ONNX")
            for o in found.operators
        ),
    )
    yield from _section(
        "weights",
        (f"{w.size_bytes:>12,} bytes  {w.dtype} in {w.tensors:,}" for w in found.weights),
    )
    yield from _section(
        "largest",
        (
            f"{t.size_bytes:>12,} bytes  {t.name} {t.dtype} {list(t.shape)}"
            for t in found.largest
        ),
    )
    yield from _section("memory, estimated", _memory(found.memory))
    yield from _section("remarks", found.remarks)
    for fit in found.fits:
        yield from _fit(fit)


def _runtime(found: Inspection) -> str:
    if not found.min_onnxruntime:
        return _UNKNOWN
    beyond = ", ".join(found.contributed)
    which = f", one that has {beyond}" if beyond else ""
    return f"onnxruntime {found.min_onnxruntime} or newer{which}"


def _section(heading: str, lines: Iterator[str] | tuple[str, ...]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if not number:
            yield f"  {heading}"
        yield f"    {line}"


def _port(port: Port) -> str:
    shape = " x ".join(str(length) for length in port.shape)
    return f"{port.name} {port.dtype} [{shape}]"


def _memory(memory: Memory) -> Iterator[str]:
    for what, size in (
        ("onnxruntime and numpy", memory.floor_bytes),
        ("a session and its graph", memory.session_bytes),
        ("weights, while they are loaded", memory.loading_bytes),
        ("trees", memory.trees_bytes),
        ("values of one row", memory.activations_bytes),
    ):
        yield f"{size / _MB:>8.1f} MB  {what}"
    yield f"{memory.peak_bytes / _MB:>8.1f} MB  at the peak"


def _fit(fit: Fit) -> Iterator[str]:
    verdict = "nothing stands against it" if fit.fits else "it will not run"
    yield f"{fit.board} (onnxruntime {fit.onnxruntime}): {verdict}"
    for trouble in fit.troubles:
        yield f"  {trouble.fact}"
        yield f"    -> {trouble.remedy}"
