"""How large each value of a graph is, for one row. Pure; reads no weight.

Shapes come from ONNX's own inference over a copy without the large weights, so a file that
declares a tensor of terabytes costs nothing here but its declaration.
"""

import math
from collections.abc import Mapping, Sequence

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper
from onnx import shape_inference as inference

_SMALL_ELEMENTS = 1_024  # a shape or an axis that inference has to see
_BITS: Mapping[int, int] = {
    TensorProto.BOOL: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.FLOAT: 32,
    TensorProto.INT32: 32,
    TensorProto.UINT32: 32,
    TensorProto.DOUBLE: 64,
    TensorProto.INT64: 64,
    TensorProto.UINT64: 64,
    TensorProto.COMPLEX64: 64,
    TensorProto.COMPLEX128: 128,
    TensorProto.STRING: 256,  # a std::string of a few letters
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
}
_WIDEST = 64  # of a type that is not told

Shape = Sequence[int]


def tensor_bytes(tensor: TensorProto) -> int:
    """Return what a constant takes in memory, as declared; its data are not looked at."""
    return _bytes(tensor.data_type, tensor.dims)


def value_bytes(
    model: ModelProto, shapes: Mapping[str, Shape] | None = None
) -> dict[str, int]:
    """Return name -> bytes of each value that is told, nested graphs included.

    `shapes` are the inputs' for one row, {name: (1, 3, 224, 224)}; they tell the lengths
    that the graph leaves open, which otherwise count as 1.
    """
    light = lightened(model)
    for value in light.graph.input:
        _fix_one_row(value, (shapes or {}).get(value.name))
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")  # it may name the batch
    try:
        inferred = inference.infer_shapes(light, data_prop=True)
    except (inference.InferenceError, RuntimeError, ValueError):
        inferred = light  # operators that inference refuses: what is declared remains
    found: dict[str, int] = {}
    _collect(inferred.graph, found)
    return found


def lightened(model: ModelProto) -> ModelProto:
    """Return a copy whose large constants are inputs of the same type and shape."""
    light = ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.output.extend(model.graph.output)
    constants = {tensor.name for tensor in model.graph.initializer}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL_ELEMENTS:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    light.graph.input.extend(v for v in model.graph.input if v.name not in constants)
    return light


def _fix_one_row(value: ValueInfoProto, shape: Shape | None) -> None:
    for number, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            continue
        dim.dim_value = shape[number] if shape is not None and number < len(shape) else 1


def _collect(graph: GraphProto, found: dict[str, int]) -> None:
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and kind.HasField("shape"):
            dims = [max(dim.dim_value, 1) for dim in kind.shape.dim]
            found[value.name] = _bytes(kind.elem_type, dims)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _collect(attribute.g, found)


def _bytes(kind: int, dims: Shape) -> int:
    bits = _BITS.get(kind, _WIDEST)
    return -(-math.prod(dims) * bits // 8)
