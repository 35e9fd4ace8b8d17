"""Tell what an ensemble reads: a value, or columns picked from it. Knows no forest."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What an ensemble reads: a value, and which of its columns (all if empty)."""

    value: str
    columns: tuple[int, ...] = ()


def reading_of(model: ModelProto, name: str) -> Reading:
    """Return what a name stands for, nodes that only pick constant columns resolved."""
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    reading = Reading(value=name)
    while reading.value in makers:
        picked = _picked(makers[reading.value], constants)
        if picked is None:
            break
        kept = [picked[column] for column in reading.columns] or picked
        reading = Reading(value=makers[reading.value].input[0], columns=tuple(kept))
    return reading


def _picked(node: NodeProto, constants: Mapping[str, TensorProto]) -> list[int] | None:
    """Return the columns that a node picks of its first input, None if it does more."""
    if node.op_type == "Gather":
        axes = [entry.i for entry in node.attribute if entry.name == "axis"]
        if axes != [1]:
            return None
    elif node.op_type != "ArrayFeatureExtractor":
        return None
    indices = constants.get(node.input[1])
    if indices is None or indices.data_type not in {TensorProto.INT32, TensorProto.INT64}:
        return None
    values = numpy_helper.to_array(indices)
    found: list[int] = values.ravel().tolist()
    shaped = values.ndim == 1 or node.op_type != "Gather"
    return found if shaped and min(found, default=-1) >= 0 else None
