"""scikit-learn: estimators and pipelines, pickled or in skops's format, to ONNX.

Every column goes into one matrix where the estimator takes a plain one (float32, or all
texts); one tensor per column where it picks columns or where numbers and texts meet.
Numbers are float64 where float32 arithmetic before a booster would move its decisions.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import skl2onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from edgekit.binding import Predictions, results
from edgekit.errors import ConversionError, EdgekitError
from edgekit.manifest import Binding, OutputRole, Signature, TensorInput, TensorOutput
from edgekit.runtime import Session
from edgekit.table import Array, Table
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks import finishing
from edgekit_converters.frameworks.faithful import distance
from edgekit_converters.frameworks.scikit import sklearn_instead, sklearn_native
from edgekit_converters.frameworks.scikit.sklearn_gaps import (
    close_gaps,
    core,
    judges_exactly,
    parts,
    picks_columns,
    prepare,
)
from edgekit_converters.frameworks.scikit.sklearn_native import Answers
from edgekit_converters.intake import inputs, samples
from edgekit_converters.intake.inputs import TEXT, Field, Inputs
from edgekit_converters.intake.labels import as_answers
from edgekit_converters.job import Job
from edgekit_converters.runtimes import PREFERRED_OPSET, Supported
from edgekit_converters.versions import installed

_Real = Any  # a type of skl2onnx, which has no types
_ML_OPSET = 3  # the newest that skl2onnx's converters use
_MOST = 120  # characters of a foreign message
_LABEL, _BESIDE = 0, 1  # skl2onnx's outputs: the answer, then probabilities or scores
_CONVERTING = (  # what skl2onnx raises for what it does not know
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)


def convert(job: Job) -> Extraction:
    """Load the model, ask it about the samples, and convert it.

    ConversionError when it must not be loaded, cannot be, or has no faithful ONNX form.
    """
    source = job.source
    if source.signature.params:
        names = ", ".join(str(param.get("name", "?")) for param in source.signature.params)
        raise ConversionError(
            f"signature: it has parameters ({names}), which an ONNX graph cannot take; set"
            " what they choose on the model itself, and log it again with"
            " infer_signature(inputs, outputs), without params"
        )
    model = sklearn_native.load(job)
    signed = inputs.from_signature(source.signature)
    takes = signed or sklearn_native.takes(model)
    rows = samples.read(job.samples, source.example, takes, job.target)
    answers = sklearn_native.ask(model, source.predict_fn, rows.table, takes)
    if source.predict_fn != "transform":
        model = core(model)
    graph = _to_onnx(model, takes, job.supported, source.predict_fn)
    tensors = _tensors(graph, takes, packed=_packs(model, takes))
    try:
        graph, outputs = _bind(graph, tensors, rows.table, answers, source.predict_fn)
    except ConversionError as error:
        name = type(model).__name__
        raise ConversionError(
            f"{name}: {str(error)[:_MOST]}; {sklearn_instead.advice(name)}"
        ) from error
    outputs = _faithful(
        model, graph, Binding(inputs=tensors, outputs=outputs), rows.table, answers
    )
    if len(outputs) < len(graph.graph.output):
        graph = finishing.keep_outputs(graph, {one.tensor: one.tensor for one in outputs})
    finishing.tidy(graph)
    return Extraction(
        model=finishing.encode(graph),
        binding=Binding(
            inputs=tensors, outputs=outputs, classes=sklearn_native.classes(model)
        ),
        signature=source.signature if signed else Signature(inputs=takes.schema()),
        signature_derived=signed is None,
        text_dtype=answers.text_dtype,
        samples=rows.table,
        labels=as_answers(rows.labels, answers.prediction),
        original=Predictions(
            prediction=answers.prediction,
            probabilities=answers.probabilities,
            score=answers.score,
        ),
        task=sklearn_native.task(model, source.predict_fn, answers.prediction),
        framework="scikit-learn",
        predict=source.predict_fn,
        source_bytes=source.source_bytes,
        tools=installed("scikit-learn", "skl2onnx", "onnx"),
    )


def _packs(model: Any, takes: Inputs) -> bool:  # noqa: ANN401 - scikit-learn has no types
    kinds = {field.numeric for field in takes.fields}
    return takes.tensors or (len(kinds) == 1 and not picks_columns(model))


def _to_onnx(
    model: Any,  # noqa: ANN401 - scikit-learn has no types
    takes: Inputs,
    supported: Supported,
    function: str,
) -> ModelProto:
    close_gaps()
    prepare(model)
    reals = [_exact, _float32] if judges_exactly(model) else [_float32]
    newest = min(supported.opset, skl2onnx.__max_supported_opset__)
    failure: Exception | None = None
    opsets = sorted({min(PREFERRED_OPSET, newest), newest})
    for real, opset in itertools.product(reals, opsets):
        try:
            graph: ModelProto = skl2onnx.convert_sklearn(
                model,
                initial_types=_types(model, takes, real),
                options=_options(model, function),
                target_opset={"": opset, "ai.onnx.ml": _ML_OPSET},
            )
        except _CONVERTING as error:
            failure = error
            continue
        finishing.strip_zipmaps(graph)
        graph = finishing.raise_opset(graph, opset)
        if real is _float32 or _loads(graph):
            return graph
    name = _named(model, failure)
    raise ConversionError(
        f"{name}: skl2onnx {skl2onnx.__version__} cannot convert it ({_short(failure)});"
        f" {sklearn_instead.advice(name)}"
    ) from failure


def _options(model: Any, function: str) -> dict[int, dict[str, bool]] | None:  # noqa: ANN401
    """Ask a classifier for the scores that decision_function answers."""
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    if function != "decision_function" or not is_classifier(last):
        return None
    return {id(last): {"raw_scores": True}}


def _is_pair(raw: Array | None, answer: Array) -> bool:
    """Whether two opposite scores stand for the original's one."""
    return raw is not None and answer.ndim == 1 and raw.ndim == 2 and raw.shape[1] == 2  # noqa: PLR2004 - a pair in a matrix


def _types(
    model: Any,  # noqa: ANN401 - scikit-learn has no types
    takes: Inputs,
    real: Callable[[Sequence[Field]], _Real],
) -> list[tuple[str, object]]:
    if not _packs(model, takes):
        return [(field.name, _column_type(field, real([field]))) for field in takes.fields]
    first = takes.fields[0]
    width = len(takes.fields) if not takes.tensors else first.shape[-1]
    if takes.tensors and (len(takes.fields) > 1 or len(first.shape) != 2):  # noqa: PLR2004
        raise ConversionError(
            f"{type(model).__name__}: it takes one matrix, the signature gives"
            f" {', '.join(str(field.shape) for field in takes.fields)}"
        )
    if width < 0:
        width = int(model.n_features_in_)
    packed = real(takes.fields) if first.numeric else StringTensorType
    return [("input", packed([None, width]))]


def _float32(_: Sequence[Field]) -> _Real:
    """Return the type of numbers where a last bit does not matter."""
    return FloatTensorType


def _exact(fields: Sequence[Field]) -> _Real:
    """Return the type in which numpy and scikit-learn handle these columns together."""
    small = all(field.dtype in {"float32", "bool"} for field in fields)
    return FloatTensorType if small else DoubleTensorType


def _loads(graph: ModelProto) -> bool:
    """Whether the runtime takes it: not all of skl2onnx's float64 graphs are sound."""
    try:
        Session.load(graph.SerializeToString(), finishing.needs(graph))
    except EdgekitError:
        return False
    return True


def _column_type(field: Field, real: _Real) -> object:
    if field.dtype == TEXT:
        return StringTensorType([None, 1])
    if field.dtype in {"int32", "int64"}:  # categories may exceed float32's 2**24
        return Int64TensorType([None, 1])
    return real([None, 1])


def _tensors(graph: ModelProto, takes: Inputs, *, packed: bool) -> tuple[TensorInput, ...]:
    names = [value.name for value in graph.graph.input]
    if packed:
        columns = takes.names
        width = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        dtype = _fed(graph.graph.input[0])
        return (
            TensorInput(name=names[0], dtype=dtype, columns=columns, shape=(-1, width)),
        )
    return tuple(
        TensorInput(name=name, dtype=_fed(value), columns=(field.name,), shape=(-1, 1))
        for name, value, field in zip(names, graph.graph.input, takes.fields, strict=True)
    )


def _fed(value: ValueInfoProto) -> str:
    kind = value.type.tensor_type.elem_type
    if kind == TensorProto.STRING:
        return TEXT
    return helper.tensor_dtype_to_np_dtype(kind).name


def _bind(
    graph: ModelProto,
    tensors: tuple[TensorInput, ...],
    table: Table,
    answers: Answers,
    function: str,
) -> tuple[ModelProto, tuple[TensorOutput, ...]]:
    """Keep the outputs that the original has too, and say how they return to it."""
    raw = finishing.run(graph, tensors, finishing.head(table))
    names = [output.name for output in graph.graph.output]
    beside_it = function != "predict" and len(names) > _BESIDE
    main = names[_BESIDE if beside_it else _LABEL]
    if function == "decision_function" and _is_pair(raw.get(main), answers.prediction):
        raw = {**raw, main: finishing.second_column(graph, main, raw[main])}
    if main not in raw or not _alike(raw[main], answers.prediction):
        raise ConversionError(
            f"model: its ONNX form has no output of shape {answers.prediction.shape},"
            f" as {function} answers"
        )
    chosen = [(main, "", OutputRole.PREDICTION, answers.prediction)]
    beside = raw.get(names[_BESIDE]) if len(names) > _BESIDE else None
    for name, role, answer in (
        ("probabilities", OutputRole.PROBABILITY, answers.probabilities),
        ("score", OutputRole.SCORE, answers.score),
    ):
        if beside is not None and answer is not None and _alike(beside, answer):
            chosen.append((names[_BESIDE], name, role, answer))
    plain = {tensor: name or "prediction" for tensor, name, _, _ in chosen}
    kept = finishing.keep_outputs(graph, plain)
    new = dict(zip(plain, (output.name for output in kept.graph.output), strict=True))
    finishing.declare_shapes(kept, {new[tensor]: raw[tensor] for tensor in plain})
    return kept, tuple(_output(name, new[t], role, a) for t, name, role, a in chosen)


def _faithful(
    model: Any,  # noqa: ANN401 - scikit-learn has no types
    graph: ModelProto,
    binding: Binding,
    table: Table,
    answers: Answers,
) -> tuple[TensorOutput, ...]:
    """Return the outputs that say what the original says, or raise ConversionError.

    skl2onnx misreads some estimators without a word. What stands beside a prediction is
    left out when it is another number than the original's.
    """
    got = results(binding, finishing.run(graph, binding.inputs, table))
    wrong = distance(got.prediction, answers.prediction)
    if wrong > 1:
        raise ConversionError(
            f"{type(model).__name__}: skl2onnx {skl2onnx.__version__} converts it, but the"
            f" ONNX form answers otherwise ({wrong:.3g} times what float32 may explain);"
            " log an ONNX model with mlflow.onnx, or use another estimator"
        )
    beside = {
        OutputRole.PREDICTION: 0.0,
        OutputRole.PROBABILITY: distance(got.probabilities, answers.probabilities),
        OutputRole.SCORE: distance(got.score, answers.score),
    }
    return tuple(one for one in binding.outputs if beside[one.role] <= 1)


def _named(model: Any, failure: Exception | None) -> str:  # noqa: ANN401
    """Return the estimator that a failure of skl2onnx is about."""
    found = re.search(r"<class '[\w.]*?(\w+)'>", str(failure))
    known = {type(part).__name__ for part in parts(model)}
    if found is not None and found[1] in known:
        return found[1]
    return type(model).__name__


def _alike(raw: Array, answer: Array) -> bool:
    """Whether raw, of the first rows only, holds as many numbers a row as the answer."""
    first = answer[: len(raw)]
    return len(raw) == len(first) and raw.size == first.size


def _output(name: str, tensor: str, role: OutputRole, answer: Array) -> TensorOutput:
    dtype = TEXT if answer.dtype == object else answer.dtype.name
    shape = (-1, *answer.shape[1:])
    return TensorOutput(name=name, tensor=tensor, role=role, dtype=dtype, shape=shape)


def _short(error: Exception | None, most: int = 200) -> str:
    text = " ".join(str(error).split())
    if text.startswith("Unable to find a shape calculator"):
        return "it has no converter of that"
    return f"{type(error).__name__}: {text[:most]}"
