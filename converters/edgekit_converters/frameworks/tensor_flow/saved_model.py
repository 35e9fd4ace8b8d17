"""TensorFlow SavedModels, exported by Keras 2 or 3 or by TensorFlow itself, to ONNX.

Only what the serving signature uses is converted: optimizer slots and losses stay behind.
"""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # none
from tensorflow.core.protobuf import saved_model_pb2

from edgekit.errors import ConversionError
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks.ports import Port
from edgekit_converters.frameworks.tensor_flow import saved_graph
from edgekit_converters.frameworks.tensor_flow.tensorflow_graph import (
    TensorFlowModel,
    extract,
    port,
)
from edgekit_converters.job import Job

_SIGNATURES = ("serving_default", "serve")  # TensorFlow's and Keras 3's usual names
_REACHES_OUT = {  # operators that run Python or touch files
    "EagerPyFunc",
    "MatchingFiles",
    "PyFunc",
    "PyFuncStateless",
    "ReadFile",
    "WriteFile",
}
_LOADING = (
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    tf.errors.OpError,
)


def convert(job: Job) -> Extraction:
    """Load the model, ask its serving signature about the samples, and convert it.

    ConversionError when it must not be loaded, cannot be, or has no faithful ONNX form.
    """
    _refuse_reaching_out(job)
    try:
        loaded = _load(job)  # what is loaded here must live while its function is used
    except _LOADING as error:
        return extract(job, _graph_alone(job, error))
    return extract(job, _function(job, loaded))


def _refuse_reaching_out(job: Job) -> None:
    path = job.source.path / "saved_model.pb"
    try:
        stored = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ConversionError(f"{path.name}: a damaged SavedModel: {error}") from error
    used = sorted(_REACHES_OUT.intersection(_operators(stored)))
    if used and not job.trust_pickle:
        raise ConversionError(
            f"{job.source.path.name}: its graph runs {', '.join(used)}, which reach out of"
            " the model. If you trust where it comes from, allow it with --trust-pickle"
        )


def _operators(stored: Any) -> Iterable[str]:  # noqa: ANN401 - TensorFlow has no types
    for meta in stored.meta_graphs:
        yield from (node.op for node in meta.graph_def.node)
        for function in meta.graph_def.library.function:
            yield from (node.op for node in function.node_def)


def _load(job: Job) -> Any:  # noqa: ANN401 - TensorFlow has no types
    return tf.saved_model.load(str(job.source.path), tags=_tags(job))


def _tags(job: Job) -> list[str] | None:
    tags = job.source.configuration.get("meta_graph_tags")
    return tags if isinstance(tags, list) else None


def _graph_alone(job: Job, reason: Exception) -> TensorFlowModel:
    """Do without the objects; when the graph does not load either, say why they did not."""
    try:
        return saved_graph.load(
            job,
            tags=_tags(job),
            choose=lambda found: _signature_name(job, found),
            by_name=_answers_by_name(job),
        )
    except _LOADING as error:
        raise ConversionError(
            f"{job.source.path.name}: TensorFlow {tf.__version__} cannot load it"
            f" ({type(reason).__name__}: {' '.join(str(reason).split())[:300]})"
        ) from error


def _function(job: Job, loaded: Any) -> TensorFlowModel:  # noqa: ANN401 - TensorFlow has no types
    name = job.source.path.name
    if job.source.configuration.get("model_type") == "tf2-module" or not loaded.signatures:
        return _module(name, loaded)
    signature = loaded.signatures[_signature_name(job, sorted(loaded.signatures))]
    specs = signature.structured_input_signature[1]
    keys = sorted(specs)
    outputs = sorted(signature.structured_outputs)

    def call(*given: Any) -> list[Any]:  # noqa: ANN401 - TensorFlow has no types
        answers = signature(**dict(zip(keys, given, strict=True)))
        return [answers[key] for key in outputs]

    named = _answers_by_name(job) or len(outputs) > 1
    return TensorFlowModel(
        name=name,
        call=call,
        ports=tuple(_port(key, specs[key], n) for n, key in enumerate(keys)),
        outputs=tuple(outputs) if named else ("",),
        framework="tensorflow",
        flatten=_answers_by_name(job),
    )


def _answers_by_name(job: Job) -> bool:
    """Whether MLflow's wrapper returns columns: it does for plain TensorFlow models."""
    return "saved_model_dir" in job.source.configuration


def _signature_name(job: Job, found: list[str]) -> str:
    asked = job.source.configuration.get("signature_def_key")
    wanted = [asked] if isinstance(asked, str) else [*_SIGNATURES]
    usable = [name for name in found if not name.startswith("_")]
    for name in wanted:
        if name in usable:
            return name
    if len(usable) == 1 and asked is None:
        return usable[0]
    raise ConversionError(
        f"{job.source.path.name}: signatures {', '.join(usable) or 'none'};"
        f" {' or '.join(wanted)} is expected"
    )


def _module(name: str, loaded: Any) -> TensorFlowModel:  # noqa: ANN401 - TensorFlow has no types
    """Take a tf.Module by its __call__ with one tensor, as MLflow calls it."""
    restored = loaded.__call__ if callable(loaded) else None
    traces = getattr(restored, "concrete_functions", [])
    for trace in traces:
        positional, named = trace.structured_input_signature
        specs = [spec for spec in positional if isinstance(spec, tf.TensorSpec)]
        if len(specs) == 1 and not named:
            keys = _keys(trace.structured_outputs)
            return TensorFlowModel(
                name=name,
                call=_flattened(loaded),
                ports=(_port(specs[0].name or "input", specs[0], 0),),
                outputs=keys,
                framework="tensorflow",
            )
    raise ConversionError(
        f"{name}: neither a serving signature nor a __call__ with one tensor is in it;"
        " save it with signatures (tf.saved_model.save(..., signatures=...))"
    )


def _flattened(loaded: Any) -> Any:  # noqa: ANN401 - TensorFlow has no types
    def call(given: Any) -> list[Any]:  # noqa: ANN401 - TensorFlow has no types
        return list(tf.nest.flatten(loaded(given)))

    return call


def _keys(structure: Any) -> tuple[str, ...]:  # noqa: ANN401 - TensorFlow has no types
    if isinstance(structure, dict):
        return tuple(sorted(structure))
    flat = tf.nest.flatten(structure)
    return ("",) if len(flat) == 1 else tuple(f"output{n}" for n in range(len(flat)))


def _port(name: str, spec: Any, number: int) -> Port:  # noqa: ANN401 - TensorFlow has no types
    plain = port(name, spec)
    return Port(name=name, dtype=plain.dtype, shape=plain.shape, tensor=f"input{number}")
