"""Refuse ONNX models that are not whole, before anything loads them.

Knows ONNX's rules about names, sizes and operator sets; runs nothing. Sentences say which
tensor, node or value is wrong, where a runtime would only say that the file is invalid.
"""

import math
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from graphlib import CycleError, TopologicalSorter

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from edgekit.errors import ConversionError
from edgekit_converters.passes.walk import graphs, nodes

# ONNX's own and those of onnxruntime's contributed operators, which a board may allow.
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_BITS: dict[int, int] = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT4E2M1: 4,
}


def check(name: str, model: ModelProto) -> None:
    """Raise ConversionError for the first thing wrong, with what is expected."""
    _check_operator_sets(name, model)
    _check_calls(name, model)
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            check_size(name, tensor)
    _check_interface(name, model.graph)
    _check_graph(name, model.graph, frozenset())


def check_size(name: str, tensor: TensorProto) -> None:
    """Refuse a tensor whose declared size is not that of its data."""
    shape = " x ".join(str(size) for size in tensor.dims) or "one number"
    if tensor.data_type not in helper.get_all_tensor_dtypes():
        raise ConversionError(
            f"{name}: tensor {tensor.name} is of type {tensor.data_type}, which ONNX does"
            " not have"
        )
    if any(size < 0 for size in tensor.dims):
        raise ConversionError(
            f"{name}: tensor {tensor.name} declares {shape}, whole sizes are expected"
        )
    declared, stored = _bytes(tensor)
    if declared != stored:
        raise ConversionError(
            f"{name}: tensor {tensor.name} declares {shape}, {declared} bytes; {stored} are"
            " in the file"
        )


def _bytes(tensor: TensorProto) -> tuple[int, int]:
    """Return how many bytes a tensor declares and holds; equal where nobody can tell."""
    number = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        size = 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        bits = _BITS.get(tensor.data_type, size)
        return (number * bits + 7) // 8, len(tensor.raw_data)
    if tensor.data_type in _BITS or tensor.data_type > TensorProto.BFLOAT16:
        return 0, 0
    field = helper.tensor_dtype_to_field(tensor.data_type)
    complex_parts = 2 if "COMPLEX" in TensorProto.DataType.Name(tensor.data_type) else 1
    size = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return number * size, len(getattr(tensor, field)) * size // complex_parts


def _check_operator_sets(name: str, model: ModelProto) -> None:
    declared = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    made_here = {function.domain for function in model.functions}
    for domain, version in declared.items():
        if version < 1:
            raise ConversionError(
                f"{name}: opset {version} of {domain}, 1 or newer is expected"
            )
    for node in nodes(model.graph):
        domain = node.domain or "ai.onnx"
        if domain not in declared:
            raise ConversionError(
                f"{name}: it uses {domain}.{node.op_type}, but declares no opset of"
                f" {domain}"
            )
        if domain not in _KNOWN_DOMAINS | made_here:
            raise ConversionError(
                f"{name}: it uses {domain}.{node.op_type}, which no onnxruntime has;"
                " replace it by ONNX's own operators, or put its function into the model"
            )


def _check_calls(name: str, model: ModelProto) -> None:
    """Refuse functions that call themselves, which could not be inlined."""
    calls = {
        (function.domain, function.name): {(n.domain, n.op_type) for n in function.node}
        for function in model.functions
    }
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        raise ConversionError(
            f"{name}: its function {error.args[1][0][1]} calls itself"
        ) from error


def _check_interface(name: str, graph: GraphProto) -> None:
    for what, values in (("input", graph.input), ("output", graph.output)):
        names = [value.name for value in values]
        for value in values:
            if not value.name or names.count(value.name) > 1:
                raise ConversionError(
                    f"{name}: {what} {value.name or '(unnamed)'} is there"
                    f" {names.count(value.name)} times; a name for each is expected"
                )
    for value in graph.input:
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type"):
            raise ConversionError(
                f"{name}: input {value.name} is no tensor; export it with plain tensors"
            )
        if tensor.elem_type not in helper.get_all_tensor_dtypes():
            raise ConversionError(
                f"{name}: input {value.name} is of type {tensor.elem_type}, which ONNX does"
                " not have"
            )
        if not tensor.HasField("shape"):
            raise ConversionError(
                f"{name}: input {value.name} declares no shape; export it with one"
                " (open dimensions may be names)"
            )


def _check_graph(name: str, graph: GraphProto, outside: AbstractSet[str]) -> None:
    """Refuse values made twice, never or in a circle, in this graph and those within."""
    makers = _makers(name, graph)
    made = outside | set(makers)
    for node in graph.node:
        for value in filter(None, node.input):
            if value not in made:
                raise ConversionError(
                    f"{name}: {node.op_type} reads {value}, which nothing makes"
                )
        for nested in _nested(node):
            _check_graph(name, nested, made)
    for value in graph.output:
        if value.name not in made:
            raise ConversionError(f"{name}: nothing makes its output {value.name}")
    _check_order(name, graph, makers)


def _makers(name: str, graph: GraphProto) -> dict[str, int]:
    """Return which node makes each value, -1 for what the graph starts with."""
    makers: dict[str, int] = {}
    made = [(value, -1) for value in _given(graph)]
    for number, node in enumerate(graph.node):
        made += [(value, number) for value in node.output if value]
    for value, number in made:
        if value in makers:
            raise ConversionError(f"{name}: value {value} is made twice, once is expected")
        makers[value] = number
    return makers


def _given(graph: GraphProto) -> Iterator[str]:
    """Yield what a graph starts with; old exporters list initialisers as inputs too."""
    inputs = {value.name for value in graph.input}
    yield from (value.name for value in graph.input)
    for tensor in (*graph.initializer, *(s.values for s in graph.sparse_initializer)):
        if tensor.name not in inputs:
            yield tensor.name
    names = [tensor.name for tensor in graph.initializer]
    yield from {value for value in inputs if names.count(value) > 1}


def _check_order(name: str, graph: GraphProto, makers: dict[str, int]) -> None:
    needs: dict[int, Iterable[int]] = {
        number: {makers[v] for v in _all_read(node) if makers.get(v, -1) >= 0}
        for number, node in enumerate(graph.node)
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        node = graph.node[error.args[1][0]]
        raise ConversionError(
            f"{name}: its nodes read each other in a circle, {node.op_type} is one of them"
        ) from error


def _all_read(node: NodeProto) -> Iterator[str]:
    yield from node.input
    for graph in _nested(node):
        for inner in nodes(graph):
            yield from inner.input


def _nested(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
