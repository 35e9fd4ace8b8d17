"""Tell what a model file is made of, what it takes, and what will not run where.

The entry point `inspect` of the group edgekit.converters. Nothing is loaded into a
runtime: everything comes from the file, ONNX's schemas and the boards' profiles.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from onnx import ModelProto, TensorProto, TypeProto, ValueInfoProto

from edgekit import runtime
from edgekit.board import Board
from edgekit.errors import ConversionError
from edgekit.inspection import (
    Fit,
    Inspection,
    Memory,
    Operator,
    Port,
    Tensor,
    Trouble,
    Weights,
)
from edgekit_converters import runtimes
from edgekit_converters.inspection.reading import Graph, read
from edgekit_converters.needs.contract import Clash, beyond_onnx, clashes, hungry
from edgekit_converters.needs.memory import MemoryEstimate, estimate
from edgekit_converters.needs.operators import (
    census,
    opsets,
    schema_trouble,
    shown,
    strange,
    unregistered,
)
from edgekit_converters.needs.sizes import tensor_bytes
from edgekit_converters.passes.walk import graphs

_LARGEST = 10
_TREE_SHARE = 2**20  # trees that take more are worth a remark


def inspect(path: Path, boards: Sequence[Board]) -> Inspection:
    """Look at an .onnx file, a bundle, or a folder with one; see `reading.read`.

    ConversionError for what is damaged or no ONNX.
    """
    graph = read(path)
    model = graph.model
    told = estimate(model, session_options=graph.session_options)
    return Inspection(
        path=graph.path,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        file_bytes=graph.file_bytes,
        ir_version=model.ir_version,
        opsets={shown(domain): version for domain, version in opsets(model).items()},
        operators=tuple(
            Operator(domain=shown(o.domain), name=o.name, count=o.count, since=o.since)
            for o in census(model)
        ),
        inputs=tuple(_port(value) for value in _inputs(model)),
        outputs=tuple(_port(value) for value in model.graph.output),
        weights=_weights(model),
        largest=_largest(model),
        memory=_memory(told),
        min_onnxruntime="" if strange(model) or unregistered(model) else _oldest(model),
        contributed=beyond_onnx(model),
        remarks=tuple(_remarks(graph, told)),
        fits=tuple(_fit(graph, told, board) for board in boards),
    )


def _fit(graph: Graph, told: MemoryEstimate, board: Board) -> Fit:
    found = [
        *clashes(graph.model, board),
        *hungry(peak_bytes=told.peak, file_bytes=graph.file_bytes, board=board),
        *_not_plain(graph),
    ]
    return Fit(
        board=board.name,
        onnxruntime=board.onnxruntime,
        troubles=tuple(Trouble(fact=one.fact, remedy=one.remedy) for one in found),
    )


def _not_plain(graph: Graph) -> Iterator[Clash]:
    """Say what an agent cannot serve, whatever its runtime."""
    if graph.outside:
        yield Clash(
            fact=f"weights in {', '.join(graph.outside)}, a bundle takes one file",
            remedy="`edgekit convert` draws them in",
        )
    for value in (*_inputs(graph.model), *graph.model.graph.output):
        if not value.type.HasField("tensor_type"):
            yield Clash(
                fact=f"{value.name} is no tensor",
                remedy="export with plain tensors (scikit-learn: zipmap=False); `edgekit"
                " convert` strips the ZipMap of a classifier",
            )


def _remarks(graph: Graph, told: MemoryEstimate) -> Iterator[str]:
    for one in strange(graph.model):
        yield (
            f"{shown(one.domain)}.{one.name}: onnxruntime {runtime.version()} has no such"
            " operator"
        )
    trouble = schema_trouble(graph.model)
    if trouble:
        yield f"against ONNX's schemas: {trouble}"
    if graph.outside:
        yield f"weights in {', '.join(graph.outside)} beside the file"
    open_lengths = [
        f"{value.name}[{number}]"
        for value in _inputs(graph.model)
        for number, length in enumerate(_shape(value.type.tensor_type))
        if number and not isinstance(length, int)
    ]
    if open_lengths:
        yield f"of open length, counted as 1 here: {', '.join(open_lengths)}"
    if told.trees > _TREE_SHARE:
        yield "trees take many times their bytes in memory; --quantize tries smaller forms"


def _memory(told: MemoryEstimate) -> Memory:
    return Memory(
        floor_bytes=told.floor,
        session_bytes=told.session,
        loading_bytes=told.loading,
        trees_bytes=told.trees,
        activations_bytes=told.activations,
        load_peak_bytes=told.load_peak,
        peak_bytes=told.peak,
    )


def _oldest(model: ModelProto) -> str:
    known = opsets(model)
    try:
        return runtimes.oldest(
            opset=known.get("", 0),
            ml_opset=known.get("ai.onnx.ml", 0),
            ir_version=model.ir_version,
        )
    except ConversionError:
        return ""


def _inputs(model: ModelProto) -> list[ValueInfoProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _port(value: ValueInfoProto) -> Port:
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value") or "nothing"
        return Port(name=value.name, dtype=kind.removesuffix("_type"), shape=())
    tensor = value.type.tensor_type
    return Port(name=value.name, dtype=_dtype(tensor.elem_type), shape=_shape(tensor))


def _shape(tensor: TypeProto.Tensor) -> tuple[int | str, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in tensor.shape.dim
    )


def _dtype(kind: int) -> str:
    known = TensorProto.DataType.DESCRIPTOR.values_by_number.get(kind)
    return known.name.lower() if known else f"type {kind}"


def _constants(model: ModelProto) -> Iterator[TensorProto]:
    for graph in graphs(model.graph):
        yield from graph.initializer


def _weights(model: ModelProto) -> tuple[Weights, ...]:
    sizes: dict[str, list[int]] = defaultdict(list)
    for tensor in _constants(model):
        sizes[_dtype(tensor.data_type)].append(tensor_bytes(tensor))
    ordered = sorted(sizes.items(), key=lambda entry: (-sum(entry[1]), entry[0]))
    return tuple(
        Weights(dtype=dtype, tensors=len(each), size_bytes=sum(each))
        for dtype, each in ordered
    )


def _largest(model: ModelProto) -> tuple[Tensor, ...]:
    found = [
        Tensor(
            name=tensor.name,
            dtype=_dtype(tensor.data_type),
            shape=tuple(tensor.dims),
            size_bytes=tensor_bytes(tensor),
        )
        for tensor in _constants(model)
    ]
    return tuple(sorted(found, key=lambda one: (-one.size_bytes, one.name))[:_LARGEST])
