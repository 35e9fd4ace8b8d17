"""Visit a model's graphs, nodes and names, nested graphs included. Changes nothing."""

from collections.abc import Iterable, Iterator

from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TypeProto,
    helper,
    shape_inference,
)


def copied(model: ModelProto) -> ModelProto:
    """Return a copy that a pass may change."""
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield the graph and every graph nested in its nodes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs(attribute.g)
            for nested in attribute.graphs:
                yield from graphs(nested)


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of the graph and of every nested graph."""
    for inner in graphs(graph):
        yield from inner.node


def interface(graph: GraphProto) -> set[str]:
    """Return the names that callers use: the graph's inputs and outputs."""
    return {value.name for value in (*graph.input, *graph.output)}


def used_names(graph: GraphProto) -> set[str]:
    """Return every name that some node reads or some graph returns."""
    used = {name for node in nodes(graph) for name in node.input}
    for inner in graphs(graph):
        used.update(value.name for value in inner.output)
    return used


def rename(graph: GraphProto, names: dict[str, str]) -> None:
    """Replace value names everywhere in a graph that a pass has copied."""
    for inner in graphs(graph):
        for node in inner.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in (*inner.input, *inner.output, *inner.value_info):
            value.name = names.get(value.name, value.name)
        for tensor in inner.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
        for sparse in inner.sparse_initializer:
            sparse.values.name = names.get(sparse.values.name, sparse.values.name)


def reread(graph: GraphProto, names: dict[str, str]) -> None:
    """Let every reader of an old name read the new one; producers keep their names."""
    for inner in graphs(graph):
        for node in inner.node:
            node.input[:] = [names.get(name, name) for name in node.input]
        if inner is not graph:
            for value in inner.output:
                value.name = names.get(value.name, value.name)


def opset_of(model: ModelProto) -> int:
    """Return the version of ONNX's own operator set, 0 where none is declared."""
    return max((o.version for o in model.opset_import if not o.domain), default=0)


def standard(node: NodeProto) -> bool:
    """Whether the node is of ONNX's own operator set."""
    return node.domain in {"", "ai.onnx"}


def unused_name(graph: GraphProto, wanted: str) -> str:
    """Return `wanted`, or the first of `wanted_1`, `wanted_2`, ... that nothing bears."""
    taken = interface(graph) | used_names(graph)
    for inner in graphs(graph):
        taken.update(tensor.name for tensor in inner.initializer)
        taken.update(name for node in inner.node for name in node.output)
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def replace_nodes(model: ModelProto, placed: Iterable[NodeProto]) -> None:
    """Let the outermost graph of a model that a pass has copied hold these nodes."""
    copies = []
    for node in placed:
        copy = NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(copies)


def types(model: ModelProto) -> dict[str, TypeProto.Tensor]:
    """Return the element type and shape of every value that ONNX can infer them of."""
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except (RuntimeError, ValueError):  # what it cannot infer, nobody relies on
        graph = model.graph
    found = {
        value.name: value.type.tensor_type
        for value in (*graph.value_info, *graph.output, *graph.input)
        if value.type.HasField("tensor_type")
    }
    for entry in model.graph.initializer:
        value = helper.make_tensor_value_info(entry.name, entry.data_type, entry.dims)
        found[entry.name] = value.type.tensor_type
    return found


def ranks(model: ModelProto) -> dict[str, int]:
    """Return the number of dimensions of every value whose shape is known."""
    return {
        name: len(kind.shape.dim)
        for name, kind in types(model).items()
        if kind.HasField("shape")
    }
