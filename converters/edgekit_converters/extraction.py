"""A native model taken out of its framework, and the folder it travels in.

What the child process that loads the model hands to the parent: faithful float32 ONNX,
the binding around it, and the original's own answers on the samples. Knows no framework.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from edgekit.binding import Predictions
from edgekit.document import Reader, canonical_json
from edgekit.errors import ConversionError
from edgekit.manifest import (
    Binding,
    Signature,
    binding_document,
    read_binding,
    read_signature,
    signature_document,
)
from edgekit.table import Array, Table
from edgekit_converters import tables

MODEL = "fp32.onnx"
BINDING = "binding.json"
SIGNATURE = "signature.json"
SAMPLES = "samples.npz"
REFERENCE = "reference.npz"
NATIVE = "native.json"
_PREDICTION = "prediction:"  # before the names of predictions in the reference file
_PROBABILITIES = "probabilities"
_SCORE = "score"
_LABELS = "labels"


class Task(StrEnum):
    """What kind of answer a model gives: decides how flavors are compared with it."""

    CLASSIFICATION = "classification"  # labels, clusters included
    REGRESSION = "regression"
    ANOMALY = "anomaly"  # 1 for normal, -1 for not, and a score
    OTHER = "other"  # numbers whose meaning nobody told us


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """One model, out of its framework.

    `model` is a serialised ONNX ModelProto, float32, its data inside. `samples` holds the
    signature's columns as the original was given them, `labels` the true answers beside
    them ([rows], in the dtype of the prediction) where a target column was named.
    `original` is what the framework itself answered on the samples, unrounded.
    `signature` is MLflow's, or one derived from the model when `signature_derived`.
    `predict` is the native function that was asked ("predict", "predict_proba", ...),
    `text_dtype` numpy's name of the texts it answers ("<U6"), "" where they are objects.
    `notes` are sentences for the person who converts: what was not done as usual.
    """

    model: bytes
    binding: Binding
    signature: Signature
    samples: Table
    original: Predictions
    task: Task
    framework: str
    predict: str
    source_bytes: int
    labels: Array | None = None
    signature_derived: bool = False
    text_dtype: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def save(folder: Path, extraction: Extraction) -> None:
    """Write an extraction into an existing folder."""
    folder.joinpath(MODEL).write_bytes(extraction.model)
    _write(folder / BINDING, binding_document(extraction.binding))
    _write(folder / SIGNATURE, signature_document(extraction.signature))
    tables.save(folder / SAMPLES, extraction.samples)
    tables.save(folder / REFERENCE, _reference(extraction))
    _write(
        folder / NATIVE,
        {
            "task": extraction.task.value,
            "framework": extraction.framework,
            "predict": extraction.predict,
            "source_bytes": extraction.source_bytes,
            "signature_derived": extraction.signature_derived,
            "text_dtype": extraction.text_dtype,
            "tools": dict(extraction.tools),
            "notes": list(extraction.notes),
        },
    )


def load(folder: Path) -> Extraction:
    """Read what `save` wrote; ConversionError for anything missing or unreadable."""
    reference = tables.load(folder / REFERENCE)
    native = _read(folder / NATIVE)
    return Extraction(
        model=_bytes(folder / MODEL),
        binding=read_binding(_read(folder / BINDING)),
        signature=read_signature(_read(folder / SIGNATURE)),
        samples=tables.load(folder / SAMPLES),
        original=_predictions(reference),
        labels=reference.get(_LABELS),
        task=Task(native.one_of("task", Task)),
        framework=native.text("framework"),
        predict=native.text("predict"),
        source_bytes=native.integer("source_bytes"),
        signature_derived=native.flag("signature_derived"),
        text_dtype=native.text("text_dtype"),
        tools=native.string_map("tools"),
        notes=native.texts("notes", ()),
    )


def _reference(extraction: Extraction) -> dict[str, Array]:
    original = extraction.original
    answer = original.prediction
    named = answer if isinstance(answer, dict) else {"": answer}
    others = {
        _PROBABILITIES: original.probabilities,
        _SCORE: original.score,
        _LABELS: extraction.labels,
    }
    return {
        **{f"{_PREDICTION}{name}": array for name, array in named.items()},
        **{name: array for name, array in others.items() if array is not None},
    }


def _predictions(reference: Mapping[str, Array]) -> Predictions:
    named = {
        name.removeprefix(_PREDICTION): array
        for name, array in reference.items()
        if name.startswith(_PREDICTION)
    }
    return Predictions(
        prediction=named[""] if list(named) == [""] else named,
        probabilities=reference.get(_PROBABILITIES),
        score=reference.get(_SCORE),
    )


def _write(path: Path, document: Mapping[str, object]) -> None:
    path.write_bytes(canonical_json(document))


def _read(path: Path) -> Reader:
    return Reader.from_json(_bytes(path), subject=path.name, error=ConversionError)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConversionError(f"{path.name}: cannot be read: {error.strerror}") from error
