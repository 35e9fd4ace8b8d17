"""A TensorFlow function to ONNX: what Keras models and SavedModels have in common.

Knows TensorFlow and tf2onnx, neither Keras nor files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks import finishing, network
from edgekit_converters.frameworks.network import Exported, Network, short
from edgekit_converters.frameworks.ports import Port
from edgekit_converters.frameworks.tensor_flow.settled import settle
from edgekit_converters.intake.inputs import TEXT
from edgekit_converters.job import Job
from edgekit_converters.runtimes import PREFERRED_OPSET

_FAILURES = (  # what tracing and tf2onnx raise for what they do not know
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    tf.errors.OpError,
)
# Operators that ONNX does not have: 1 - erf(x), exp(x) - 1.
_UNKNOWN = {"Erfc": ("Erf", 1), "Expm1": ("Exp", -1)}


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
    return network.extract(
        job,
        Network(
            name=model.name,
            ports=model.ports,
            framework=model.framework,
            ask=lambda given: _ask(model, given),
            export=lambda opset, _: Exported(
                model=_to_onnx(model, min(PREFERRED_OPSET, opset))
            ),
            restore=_flat if model.flatten else _as_it_is,
            tools=("keras", "tensorflow", "tensorflow-cpu", "tf2onnx"),
        ),
    )


def port(name: str, spec: Any) -> Port:  # noqa: ANN401 - TensorFlow has no types
    """Return the port of a TensorSpec (or Keras tensor)."""
    dtype = tf.as_dtype(spec.dtype)
    shape = tuple(-1 if size is None else int(size) for size in spec.shape)
    return Port(name=name, dtype=TEXT if dtype == tf.string else dtype.name, shape=shape)


def _ask(model: TensorFlowModel, arrays: Sequence[Array]) -> dict[str, Array]:
    try:
        answers = model.call(*[tf.constant(array) for array in arrays])
        listed = [answer.numpy() for answer in answers]
    except _FAILURES as error:
        raise ConversionError(
            f"{model.name}: the original itself fails on the samples: {short(error)}"
        ) from error
    return dict(zip(model.outputs, listed, strict=True))


def _flat(array: Array) -> Array:
    return array.ravel() if array.ndim > 1 and array.size == len(array) else array


def _as_it_is(array: Array) -> Array:
    return array


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
            f"{model.name}: tf2onnx cannot convert it: {short(error)}. Replace the layer"
            " it names, or log an ONNX model with mlflow.onnx"
        ) from error
    _settle_captured(graph, [each.tensor for each in model.ports], captured)
    settle(graph)
    _replace_unknown(graph)
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
            " original does not have; a table in the model (a lookup, a vocabulary) has no"
            " ONNX form here: take it out and encode before the model"
        )
    for value, constant in zip(extra, captured, strict=True):
        graph.input.remove(value)
        graph.initializer.append(numpy_helper.from_array(constant, value.name))


def _replace_unknown(model: ModelProto) -> None:
    """Write in operators of ONNX's what tf2onnx passes through: erfc and expm1."""
    changed: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type not in _UNKNOWN:
            changed.append(node)
            continue
        operator, order = _UNKNOWN[node.op_type]
        one, inner = f"{node.output[0]}_one", f"{node.output[0]}_inner"
        value = numpy_helper.from_array(np.array(1.0, dtype=np.float32), one)
        model.graph.initializer.append(value)
        changed.append(helper.make_node(operator, [node.input[0]], [inner]))
        less = [one, inner][::order]
        changed.append(helper.make_node("Sub", less, [node.output[0]]))
    model.graph.ClearField("node")
    model.graph.node.extend(changed)
