"""A SavedModel by its graph alone, for those whose objects TensorFlow no longer loads.

Optimizers of Keras 2 leave slots behind that today's object loader trips over
("no attribute 'add_slot'"), though no prediction needs them. The graph of a serving
signature, with its variables turned into constants, answers all the same.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from edgekit_converters.frameworks.ports import Port
from edgekit_converters.frameworks.tensor_flow.tensorflow_graph import TensorFlowModel, port
from edgekit_converters.job import Job

_SERVE = "serve"  # TensorFlow's tag of the graph that is for predictions


def load(
    job: Job,
    *,
    tags: list[str] | None,
    choose: Callable[[list[str]], str],
    by_name: bool,
) -> TensorFlowModel:
    """Return the signature that `choose` takes, as a function.

    `by_name`: a lone answer keeps its name. TensorFlow's own errors pass.
    """
    path = str(job.source.path)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        meta = tf.compat.v1.saved_model.load(session, tags or [_SERVE], path)
        signature = meta.signature_def[choose(sorted(meta.signature_def))]
        outputs = sorted(signature.outputs)
        fetched = [signature.outputs[key].name for key in outputs]
        frozen = convert_to_constants.convert_variables_to_constants_from_session_graph(
            session, graph.as_graph_def(), [_operation(name) for name in fetched]
        )
    keys = sorted(signature.inputs)
    fed = [signature.inputs[key] for key in keys]
    call = _function(frozen, [info.name for info in fed], fetched)
    return TensorFlowModel(
        name=job.source.path.name,
        call=call,
        ports=tuple(
            _port(key, info, n) for n, (key, info) in enumerate(zip(keys, fed, strict=True))
        ),
        outputs=tuple(outputs) if by_name or len(outputs) > 1 else ("",),
        framework="tensorflow",
        flatten=by_name,
    )


def _function(frozen: Any, feeds: list[str], fetches: list[str]) -> Any:  # noqa: ANN401 - TensorFlow has no types
    """Return a function of the tensors named `feeds` that gives those named `fetches`."""

    def imported() -> None:
        tf.graph_util.import_graph_def(frozen, name="")

    whole = tf.compat.v1.wrap_function(imported, [])
    element = whole.graph.as_graph_element
    pruned = whole.prune(
        tf.nest.map_structure(element, feeds), tf.nest.map_structure(element, fetches)
    )

    def call(*given: Any) -> list[Any]:  # noqa: ANN401 - TensorFlow has no types
        return list(pruned(*given))

    return call


def _operation(tensor: str) -> str:
    return tensor.partition(":")[0]


def _port(key: str, info: Any, number: int) -> Port:  # noqa: ANN401 - TensorFlow has no types
    shape = [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]
    plain = port(key, tf.TensorSpec(shape, tf.as_dtype(info.dtype)))
    return Port(name=key, dtype=plain.dtype, shape=plain.shape, tensor=f"input{number}")
