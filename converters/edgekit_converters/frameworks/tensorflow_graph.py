"""A TensorFlow function to ONNX: what Keras models and SavedModels have in common.

Knows TensorFlow and tf2onnx, neither Keras nor files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx
from onnx import ModelProto, NodeProto, defs, helper, numpy_helper

from edgekit.binding import Predictions, feeds
from edgekit.errors import ConversionError
from edgekit.manifest import Binding, OutputRole, Signature, TensorInput, TensorOutput
from edgekit.table import Array, Table, rows, take
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.frameworks import finishing
from edgekit_converters.frameworks.ports import Port, bind_inputs
from edgekit_converters.intake import inputs, samples
from edgekit_converters.intake.inputs import TEXT, Field, Inputs
from edgekit_converters.intake.labels import as_answers
from edgekit_converters.job import Job
from edgekit_converters.runtimes import PREFERRED_OPSET
from edgekit_converters.versions import installed

_BATCH_ROWS = 256
_FAILURES = (  # what tracing and tf2onnx raise for what they do not know
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    tf.errors.OpError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFlowModel:
    """A function that answers like the original: one tensor a port in, one a name out.

    `outputs` are the caller's names; a lone "" stands for a plain array.
    """

    name: str
    call: Callable[..., Sequence[Any]]
    ports: tuple[Port, ...]
    outputs: tuple[str, ...]
    framework: str
    flatten: bool = False  # [rows, 1] answers reach the caller as [rows]


def extract(job: Job, model: TensorFlowModel) -> Extraction:
    """Ask the original about the samples and convert it, or raise ConversionError."""
    source = job.source
    signed = inputs.from_signature(source.signature)
    takes = signed or _derived(model.ports)
    tensors = bind_inputs(takes, model.ports, subject=model.name)
    given = samples.read(job.samples, source.example, takes, job.target)
    answers = _ask(model, tensors, given.table)
    graph = _to_onnx(model, min(PREFERRED_OPSET, job.supported.opset))
    graph, outputs = _bind(graph, tensors, given.table, model, answers)
    finishing.tidy(graph)
    prediction = answers[0] if model.outputs == ("",) else _named(model, answers)
    return Extraction(
        model=finishing.encode(graph),
        binding=Binding(inputs=tensors, outputs=outputs),
        signature=source.signature if signed else Signature(inputs=takes.schema()),
        signature_derived=signed is None,
        samples=given.table,
        labels=as_answers(given.labels, answers[0]),
        original=Predictions(prediction=prediction),
        task=_task(graph, answers),
        framework=model.framework,
        predict=source.predict_fn,
        source_bytes=source.source_bytes,
        tools=installed("keras", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx"),
    )


def port(name: str, spec: Any) -> Port:  # noqa: ANN401 - TensorFlow has no types
    """Return the port of a TensorSpec (or Keras tensor)."""
    dtype = tf.as_dtype(spec.dtype)
    shape = tuple(-1 if size is None else int(size) for size in spec.shape)
    return Port(name=name, dtype=TEXT if dtype == tf.string else dtype.name, shape=shape)


def _derived(ports: Sequence[Port]) -> Inputs:
    lone = len(ports) == 1
    fields = tuple(
        Field(name="" if lone else p.name, dtype=p.dtype, shape=p.shape) for p in ports
    )
    return Inputs(fields=fields, tensors=True)


def _ask(
    model: TensorFlowModel, tensors: tuple[TensorInput, ...], table: Table
) -> list[Array]:
    """Return the original's answers, [rows, ...] each, a batch at a time."""
    binding = Binding(inputs=tensors, outputs=())
    batches: list[list[Array]] = []
    for start in range(0, rows(table), _BATCH_ROWS):
        some = take(table, list(range(start, min(start + _BATCH_ROWS, rows(table)))))
        fed = feeds(binding, some)
        given = [tf.constant(fed[tensor.name]) for tensor in tensors]
        try:
            answers = model.call(*given)
        except _FAILURES as error:
            raise ConversionError(
                f"{model.name}: the original itself fails on the samples: {_short(error)}"
            ) from error
        batches.append([answer.numpy() for answer in answers])
    joined = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return [_flat(array) if model.flatten else array for array in joined]


def _flat(array: Array) -> Array:
    return array.ravel() if array.ndim > 1 and array.size == len(array) else array


def _named(model: TensorFlowModel, answers: list[Array]) -> dict[str, Array]:
    return dict(zip(model.outputs, answers, strict=True))


def _to_onnx(model: TensorFlowModel, opset: int) -> ModelProto:
    specs = [
        tf.TensorSpec(
            [None if size < 0 else size for size in each.shape],
            tf.string if each.dtype == TEXT else each.dtype,
            name=each.tensor,
        )
        for each in model.ports
    ]

    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def call(*given: Any) -> dict[str, Any]:  # noqa: ANN401 - TensorFlow has no types
        answers = model.call(*given)
        return {f"output{n:04}": tf.identity(a) for n, a in enumerate(answers)}

    try:
        captured = _captured(call.get_concrete_function(*specs))
        graph, _ = tf2onnx.convert.from_function(call, input_signature=specs, opset=opset)
    except _FAILURES as error:
        raise ConversionError(
            f"{model.name}: tf2onnx cannot convert it: {_short(error)}. Replace the layer"
            " it names, or log an ONNX model with mlflow.onnx"
        ) from error
    _settle_captured(graph, [each.tensor for each in model.ports], captured)
    _replace_erfc(graph)
    _check_operators(model.name, graph)
    return finishing.raise_opset(graph, opset)


def _captured(concrete: Any) -> list[Array]:  # noqa: ANN401 - TensorFlow has no types
    """Return the constants that the function took from outside, in its inputs' order."""
    return [
        outside.numpy()
        for outside, _ in concrete.graph.captures
        if outside.dtype != tf.resource
    ]


def _settle_captured(
    model: ModelProto, own: Sequence[str], captured: Sequence[Array]
) -> None:
    """Turn captured constants back from graph inputs (tf2onnx's doing) to initialisers.

    The Normalization layer holds its mean and variance so.
    """
    graph = model.graph
    extra = [value for value in graph.input if value.name.removesuffix(":0") not in own]
    if len(extra) != len(captured):
        raise ConversionError(
            f"model: tf2onnx made inputs {', '.join(v.name for v in extra)} that the"
            " original does not have"
        )
    for value, constant in zip(extra, captured, strict=True):
        graph.input.remove(value)
        graph.initializer.append(numpy_helper.from_array(constant, value.name))


def _replace_erfc(model: ModelProto) -> None:
    """Write erfc(x), which tf2onnx passes through unknown to ONNX, as 1 - erf(x)."""
    changed: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Erfc":
            changed.append(node)
            continue
        one, erf = f"{node.output[0]}_one", f"{node.output[0]}_erf"
        value = numpy_helper.from_array(np.array(1.0, dtype=np.float32), one)
        model.graph.initializer.append(value)
        changed.append(helper.make_node("Erf", [node.input[0]], [erf]))
        changed.append(helper.make_node("Sub", [one, erf], [node.output[0]]))
    model.graph.ClearField("node")
    model.graph.node.extend(changed)


def _check_operators(name: str, model: ModelProto) -> None:
    known = {schema.name for schema in defs.get_all_schemas_with_history()}
    unknown = sorted({n.op_type for n in model.graph.node if n.op_type not in known})
    if unknown:
        raise ConversionError(
            f"{name}: ONNX has no operators for {', '.join(unknown)}; replace the layers"
            " that use them, or move them out of the model"
        )


def _bind(
    graph: ModelProto,
    tensors: tuple[TensorInput, ...],
    table: Table,
    model: TensorFlowModel,
    answers: list[Array],
) -> tuple[ModelProto, tuple[TensorOutput, ...]]:
    names = [output.name for output in graph.graph.output]
    lone = model.outputs == ("",)
    wanted = ["prediction" if lone else f"output{n}" for n in range(len(names))]
    kept = finishing.keep_outputs(graph, dict(zip(names, wanted, strict=True)))
    finishing.declare_inputs(kept, tensors)
    raw = finishing.run(kept, tensors, finishing.head(table))
    finishing.declare_shapes(kept, raw)
    outputs = tuple(
        TensorOutput(
            name=name,
            tensor=output.name,
            role=OutputRole.PREDICTION,
            dtype=TEXT if answer.dtype == object else answer.dtype.name,
            shape=(-1,) if answer.ndim == 1 else finishing.shape(output),
        )
        for name, output, answer in zip(
            model.outputs, kept.graph.output, answers, strict=True
        )
    )
    return kept, outputs


def _task(model: ModelProto, answers: list[Array]) -> Task:
    """Read the task from the last operator; a sigmoid may end a classifier or a decoder."""
    ends = {value.name for value in model.graph.output}
    last = [node.op_type for node in model.graph.node if ends.intersection(node.output)]
    if last == ["Softmax"]:
        return Task.CLASSIFICATION
    single = len(answers) == 1 and answers[0].size == len(answers[0])
    return Task.REGRESSION if single and last != ["Sigmoid"] else Task.OTHER


def _short(error: Exception, most: int = 300) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:most]}"
