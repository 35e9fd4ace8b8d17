"""From a booster that answered to an extraction: the part XGBoost and LightGBM share.

Knows neither library: each hands over what the model is, and how it is asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from onnx import ModelProto, TensorProto

from edgekit.binding import Predictions
from edgekit.errors import ConversionError
from edgekit.manifest import Binding, OutputRole, Signature, TensorInput, TensorOutput
from edgekit.table import Array, Table
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.frameworks import finishing
from edgekit_converters.frameworks.boosting import boosted_labels, label_columns
from edgekit_converters.frameworks.boosting.boosted import Boosted, Link
from edgekit_converters.frameworks.boosting.boosted_graph import (
    above_half,
    add_answer,
    add_classes,
    add_margins,
)
from edgekit_converters.frameworks.boosting.boosted_labels import add_rows, as_trained
from edgekit_converters.frameworks.nodes import OwnGraph
from edgekit_converters.intake import inputs, samples
from edgekit_converters.intake.gaps import hint
from edgekit_converters.intake.inputs import TEXT, Inputs
from edgekit_converters.intake.labels import as_answers
from edgekit_converters.job import Job
from edgekit_converters.runtimes import PREFERRED_OPSET
from edgekit_converters.versions import installed

_ASKING: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
_MATRIX = 2
_PREDICTION, _PROBABILITIES = "prediction", "probabilities"
_LABELS = {Link.SOFTMAX, Link.LARGEST, Link.SIGN}  # what only classifiers end with

Asking = Callable[[Array | pd.DataFrame], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """A loaded booster.

    `classes` (int64 or texts, in their order) are None unless it answers labels beside
    probabilities; then `probabilities` asks for those. `failures` are the exceptions of
    the library's own that mean "not with this input".
    """

    boosted: Boosted
    framework: str
    distributions: tuple[str, ...]
    predict: Asking
    failures: tuple[type[Exception], ...]
    classes: Array | None = None
    probabilities: Asking | None = None


def extract(job: Job, native: Native) -> Extraction:
    """Ask the booster about the samples, and write it as ONNX.

    ConversionError when it cannot answer them, or does not fit the signature.
    """
    source = job.source
    signed = inputs.from_signature(source.signature)
    takes = signed or _takes(native.boosted)
    _check_width(takes, native)
    rows = samples.read(job.samples, source.example, takes, job.target)
    native = replace(
        native, boosted=label_columns.settled(native.boosted, takes, rows.table)
    )
    tensors = _tensors(takes, native)
    original = _ask(native, rows.table, takes)
    graph, wanted = _graph(native, original, min(PREFERRED_OPSET, job.supported.opset))
    raw = finishing.run(graph, tensors, finishing.head(rows.table))
    finishing.declare_shapes(graph, raw)
    finishing.tidy(graph)
    classes = _class_names(native)
    return Extraction(
        model=finishing.encode(graph),
        binding=Binding(
            inputs=tensors,
            outputs=tuple(_output(role, *of) for role, of in wanted.items()),
            classes=classes if original.probabilities is not None else (),
        ),
        signature=source.signature if signed else Signature(inputs=takes.schema()),
        signature_derived=signed is None,
        samples=rows.table,
        labels=as_answers(rows.labels, _lone(original)),
        original=original,
        task=_task(native),
        framework=native.framework,
        predict="predict",
        source_bytes=source.source_bytes,
        tools=installed(*native.distributions, "onnx"),
    )


def refuse_params(job: Job) -> None:
    """Raise ConversionError for a signature with parameters."""
    params = job.source.signature.params
    if params:
        names = ", ".join(str(param.get("name", "?")) for param in params)
        raise ConversionError(
            f"signature: it has parameters ({names}), which an ONNX graph cannot take; set"
            " what they choose on the model itself, and log it again with"
            " infer_signature(inputs, outputs), without params"
        )


def _takes(boosted: Boosted) -> Inputs:
    if boosted.listed:
        return boosted_labels.takes(label_columns.guessed(boosted))
    if boosted.names:
        return inputs.columns(boosted.names)
    return inputs.matrix(boosted.features)


def _check_width(takes: Inputs, native: Native) -> None:
    """Raise ConversionError unless the signature gives what the booster was trained on."""
    texts = [field.name for field in takes.fields if not field.numeric]
    if texts and not native.boosted.listed:
        raise ConversionError(
            f"{native.framework}: the signature has texts ({', '.join(texts)}), a booster"
            " reads numbers; log it with its categories as numbers"
        )
    width = native.boosted.features
    first = takes.fields[0]
    if takes.tensors:
        given = first.shape[-1] if len(first.shape) == _MATRIX else 0
        fits = len(takes.fields) == 1 and given in {width, -1}
    else:
        fits = len(takes.fields) == width
    if not fits:
        given_text = f"shape {first.shape}" if takes.tensors else f"{len(takes.fields)}"
        raise ConversionError(
            f"{native.framework}: the booster takes {width} numbers a row, the signature"
            f" gives {given_text}; log it with the columns that it was trained on"
        )
    if native.boosted.listed and takes.tensors:
        raise ConversionError(
            "signature: a tensor, and the booster was trained on categories of pandas; log"
            " it with the DataFrame's columns"
        )


def _tensors(takes: Inputs, native: Native) -> tuple[TensorInput, ...]:
    """Return the graph's inputs: numbers, and texts where it reads any."""
    texts = tuple(field.name for field in takes.fields if not field.numeric)
    if not texts:
        width = native.boosted.features
        return (_side_by_side(OwnGraph.INPUT, "float32", takes.names, width),)
    numbers = tuple(field.name for field in takes.fields if field.numeric)
    both = (
        _side_by_side(OwnGraph.INPUT, "float32", numbers, len(numbers)),
        _side_by_side(OwnGraph.TEXTS, TEXT, texts, len(texts)),
    )
    return both if numbers else both[1:]


def _side_by_side(
    name: str, dtype: str, columns: tuple[str, ...], width: int
) -> TensorInput:
    return TensorInput(name=name, dtype=dtype, columns=columns, shape=(-1, width))


def _ask(native: Native, table: Table, takes: Inputs) -> Predictions:
    given = table[takes.names[0]] if takes.tensors else as_trained(native.boosted, table)
    try:
        prediction = _plain(np.asarray(native.predict(given)))
        beside = native.probabilities and native.probabilities(given)
    except _ASKING + native.failures as error:
        raise ConversionError(
            f"{native.framework}: the original itself fails on the samples:"
            f" {_first_line(error).rstrip('.')}{hint(table)}"
        ) from error
    if native.classes is None and native.boosted.link is Link.SOFTMAX:
        beside = prediction
    return Predictions(prediction=prediction, probabilities=beside)


def _graph(
    native: Native, original: Predictions, opset: int
) -> tuple[ModelProto, Mapping[OutputRole, tuple[str, Array]]]:
    """Return the graph, and which of its outputs is what the original answered."""
    texts = len(native.boosted.text_features)
    nodes = OwnGraph(native.boosted.features - texts, texts)
    margins = add_margins(nodes, add_rows(nodes, native.boosted), native.boosted)
    wanted = {OutputRole.PREDICTION: (_PREDICTION, _lone(original))}
    beside = original.probabilities
    if native.classes is None or beside is None:
        kinds = {_PREDICTION: _add_prediction(nodes, margins, native)}
        if beside is not None:
            wanted[OutputRole.PROBABILITY] = (_PREDICTION, beside)
        return nodes.model(kinds, opset=opset), wanted
    add_classes(
        nodes,
        margins,
        native.boosted,
        classes=native.classes,
        into=(_PREDICTION, _PROBABILITIES),
    )
    texts = native.classes.dtype == object
    label = TensorProto.STRING if texts else TensorProto.INT64
    kinds = {_PREDICTION: label, _PROBABILITIES: TensorProto.FLOAT}
    wanted[OutputRole.PROBABILITY] = (_PROBABILITIES, beside)
    return nodes.model(kinds, opset=opset), wanted


def _add_prediction(nodes: OwnGraph, margins: str, native: Native) -> int:
    """Add the only output, and return its element type."""
    link = native.boosted.link
    if native.classes is None:
        add_answer(nodes, margins, link, into=_PREDICTION)
        return TensorProto.INT64 if link is Link.LARGEST else TensorProto.FLOAT
    answers = add_answer(nodes, margins, link)  # several labels a row, each yes or no
    above_half(nodes, margins, answers, native.boosted, into=_PREDICTION)
    return TensorProto.INT64


def _output(role: OutputRole, tensor: str, answer: Array) -> TensorOutput:
    return TensorOutput(
        name="" if role is OutputRole.PREDICTION else _PROBABILITIES,
        tensor=tensor,
        role=role,
        dtype=TEXT if answer.dtype == object else answer.dtype.name,
        shape=(-1, *answer.shape[1:]),
    )


def _plain(answer: Array) -> Array:
    """Return texts as objects, whatever they were kept in."""
    return answer.astype(str).astype(object) if answer.dtype.kind in "OUS" else answer


def _lone(original: Predictions) -> Array:
    if isinstance(original.prediction, dict):
        raise ConversionError("a booster gives one answer, several were given")
    return original.prediction


def _class_names(native: Native) -> tuple[str, ...]:
    if native.classes is not None:
        return tuple(str(label) for label in native.classes.tolist())
    return tuple(str(number) for number in range(native.boosted.targets))


def _task(native: Native) -> Task:
    if native.classes is not None or native.boosted.link in _LABELS:
        return Task.CLASSIFICATION
    objective = native.boosted.objective
    if native.boosted.link is Link.LOGISTIC or objective.startswith(("rank", "lambda")):
        return Task.OTHER  # odds or ranks: numbers
    return Task.REGRESSION


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
