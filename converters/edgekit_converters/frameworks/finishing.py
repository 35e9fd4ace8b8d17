"""Make a converted graph fit to travel: chosen outputs, plain names, nothing incidental.

Knows ONNX and the runtime, no framework. The same model gives the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    TensorProto,
    ValueInfoProto,
    checker,
    helper,
    numpy_helper,
    version_converter,
)
from onnx.shape_inference import InferenceError

from edgekit.binding import feeds
from edgekit.errors import ConversionError, EdgekitError
from edgekit.manifest import Binding, RuntimeNeeds, TensorInput
from edgekit.runtime import Session
from edgekit.table import Array, Table, rows, take
from edgekit_converters.passes.constants import drop_dead
from edgekit_converters.passes.quantised import unsigned_weights
from edgekit_converters.passes.walk import graphs, rename

_BATCH_ROWS = 256
_BATCH = "rows"  # the name of the first dimension of every input and output


def strip_zipmaps(model: ModelProto) -> None:
    """Let every ZipMap's reader read its input: plain arrays instead of dictionaries."""
    graph = model.graph
    zipmaps = [node for node in graph.node if node.op_type == "ZipMap"]
    for node in zipmaps:
        graph.node.remove(node)
        for output in graph.output:
            if output.name == node.output[0]:
                output.CopyFrom(
                    helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None)
                )


def keep_outputs(model: ModelProto, names: Mapping[str, str]) -> ModelProto:
    """Return the model with only these outputs (old name -> new), in this order."""
    graph = model.graph
    kept = {output.name: output for output in graph.output}
    new = {old: _free(graph, name) for old, name in names.items()}
    in_the_way = set(new.values()) - set(new)
    rename(graph, {**{name: f"{name}_inner" for name in in_the_way}, **new})
    graph.ClearField("output")
    graph.output.extend(kept[old] for old in names)
    for output, name in zip(graph.output, new.values(), strict=True):
        output.name = name
    return drop_dead(model)


def second_column(model: ModelProto, name: str, raw: Array) -> Array:
    """Make an output [rows, 2] its second column, [rows]; return it of `raw` too."""
    graph = model.graph
    inner = f"{name}_pair"
    (output,) = (o for o in graph.output if o.name == name)
    rename(graph, {name: inner})
    column = numpy_helper.from_array(np.array(1, dtype=np.int64), f"{name}_second")
    graph.initializer.append(column)
    graph.node.append(helper.make_node("Gather", [inner, column.name], [name], axis=1))
    output.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    picked: Array = raw[:, 1]
    return picked


def declare_inputs(model: ModelProto, inputs: Sequence[TensorInput]) -> None:
    """Write the inputs' names and shapes as the binding has them, the batch left open."""
    graph = model.graph
    wanted = {tensor.name: tensor for tensor in inputs}
    names = {value.name: value.name.removesuffix(":0") for value in graph.input}
    rename(graph, names)
    for value in graph.input:
        open_ended = [
            size if size >= 0 else f"{value.name}_{axis}"
            for axis, size in enumerate(wanted[value.name].shape)
        ]
        element = value.type.tensor_type.elem_type
        value.CopyFrom(
            helper.make_tensor_value_info(value.name, element, [_BATCH, *open_ended[1:]])
        )


def declare_shapes(model: ModelProto, arrays: Mapping[str, Array]) -> None:
    """Write the outputs' shapes as one run showed them; what was open stays open."""
    for output in model.graph.output:
        array = arrays[output.name]
        declared = shape(output)
        sizes: list[int | str] = [_BATCH, *array.shape[1:]]
        if len(declared) == array.ndim:
            for axis, size in enumerate(declared[1:], start=1):
                if size < 0:
                    sizes[axis] = f"{output.name}_{axis}"
        element = (
            TensorProto.STRING
            if array.dtype == object
            else helper.np_dtype_to_tensor_dtype(array.dtype)
        )
        output.CopyFrom(helper.make_tensor_value_info(output.name, element, sizes))


def shape(value: ValueInfoProto) -> tuple[int, ...]:
    """Return a tensor's declared shape, -1 where any length goes; () if there is none."""
    return tuple(
        size.dim_value if size.HasField("dim_value") else -1
        for size in value.type.tensor_type.shape.dim
    )


def raise_opset(model: ModelProto, target: int) -> ModelProto:
    """Return the model in ONNX's operator set `target`, if it is in an older one.

    Converters declare the oldest set that holds their operators (9 for a small forest),
    which later keeps quantisers from using newer ones. What ONNX's own version converter
    cannot raise stays as it is.
    """
    own = [opset.version for opset in model.opset_import if opset.domain == ""]
    if not own or own[0] >= target:
        return model
    try:
        raised: ModelProto = version_converter.convert_version(model, target)
    except (RuntimeError, ValueError):
        return model
    return raised


def tidy(model: ModelProto) -> None:
    """Drop who made the graph, when and where; take the oldest IR version for its opset.

    Exporters leave stack traces with paths of their machine in the metadata.
    """
    for field in ("producer_name", "producer_version", "doc_string", "domain"):
        model.ClearField(field)
    model.ClearField("model_version")
    model.ClearField("metadata_props")
    model.graph.name = "model"
    for graph in graphs(model.graph):
        values = (*graph.input, *graph.output, *graph.value_info)
        for part in (graph, *graph.node, *values, *graph.initializer):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")
    opsets = sorted((o.domain, o.version) for o in model.opset_import)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*opset) for opset in opsets)
    model.ir_version = helper.find_min_ir_version_for(
        model.opset_import, ignore_unknown=True
    )


def encode(model: ModelProto) -> bytes:
    """Return the model's bytes; ConversionError if it breaks ONNX's own rules."""
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, InferenceError, RuntimeError, ValueError) as error:
        raise ConversionError(
            f"model: the converted graph is not valid ONNX: {_first_line(error)}"
        ) from error
    return bytes(model.SerializeToString(deterministic=True))


def needs(model: ModelProto) -> RuntimeNeeds:
    """Return what a runtime must be to run the graph as it is."""
    return RuntimeNeeds(
        opsets={opset.domain: opset.version for opset in model.opset_import},
        ir_version=model.ir_version,
        min_onnxruntime="",
    )


def run(model: ModelProto, inputs: Sequence[TensorInput], table: Table) -> dict[str, Array]:
    """Return the graph's raw array outputs, or raise ConversionError if it cannot run.

    Integer sums are exact, whatever this processor makes of int8 weights.
    Rows go through in batches, so the first dimension must be the rows'.
    """
    binding = Binding(inputs=tuple(inputs), outputs=())
    try:
        exact = unsigned_weights(model)
        session = Session.load(exact.SerializeToString(), needs(exact))
        batches = [session.run(feeds(binding, batch)) for batch in _batches(table)]
    except EdgekitError as error:
        raise ConversionError(
            f"model: it was converted, but the result does not run: {error}"
        ) from error
    return {
        name: np.concatenate([batch[name] for batch in batches])
        for name, value in batches[0].items()
        if isinstance(value, np.ndarray)
    }


def head(table: Table) -> Table:
    """Return the first rows, as many as go through in one batch."""
    return next(_batches(table))


def _batches(table: Table) -> Iterator[Table]:
    number = rows(table)
    for start in range(0, number, _BATCH_ROWS):
        yield take(table, list(range(start, min(start + _BATCH_ROWS, number))))


def _free(graph: GraphProto, name: str) -> str:
    taken = {value.name for value in graph.input}
    while name in taken:
        name += "_"
    return name


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
