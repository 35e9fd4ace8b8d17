"""A converted flavor as MLflow's python_function: the original's answers from its graph.

The loader module that an edge flavor's MLmodel names (docs/formats/edge-flavor.md). MLflow
enforces the signature before, so rows come checked; this knows onnxruntime, numpy and
pandas, and not MLflow.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from edgekit.binding import feeds, results
from edgekit.document import Reader
from edgekit.errors import ConfigError, SchemaError
from edgekit.manifest import MANIFEST_NAME, MODEL_NAME, Binding, Manifest
from edgekit.runtime import Session
from edgekit.table import Array, Table

MLMODEL = "MLmodel"
FLAVOR = "edgekit"  # the name of ours in MLmodel
_MATRIX = 2
_TEXTS = re.compile(r"([<>]U\d{1,6})?")

Rows: TypeAlias = "pd.DataFrame | Array | Mapping[str, Array] | list[object]"
Answer: TypeAlias = "pd.DataFrame | Array | dict[str, Array] | list[object]"


class Form(StrEnum):
    """What the original's python_function makes of its arrays."""

    ARRAY = "array"  # the array as it is: scikit-learn, XGBoost, LightGBM
    FRAME = "frame"  # for a data frame another one, with its index: Keras, PyTorch
    NAMED = "named"  # an array for each name, or flat columns: ONNX
    LIST = "list"  # a list of Python's own numbers: Spark


class EdgeModel:
    """One flavor, loaded. MLflow calls `predict`."""

    def __init__(
        self, session: Session, binding: Binding, form: Form, text_dtype: str
    ) -> None:
        self._session = session
        self._binding = binding
        self._form = form
        self._text_dtype = text_dtype

    def predict(self, data: Rows, params: Mapping[str, object] | None = None) -> Answer:  # noqa: ARG002 - MLflow's interface; a graph takes none
        """Return what the original's python_function returns, in its dtypes and shape.

        SchemaError when a column is missing or of a type that the graph cannot take.
        """
        raw = self._session.run(feeds(self._binding, table(self._binding, data)))
        prediction = results(self._binding, raw).prediction
        if self._text_dtype and not isinstance(prediction, dict):
            prediction = prediction.astype(self._text_dtype)
        index = data.index if isinstance(data, pd.DataFrame) else None
        return _shaped(prediction, self._form, index)


def _load_pyfunc(path: str) -> EdgeModel:
    """Load the flavor in a folder: what MLflow calls.

    ConfigError for a folder that no conversion wrote, TrustError for a manifest that
    cannot be read, ProofError when this onnxruntime cannot run the graph.
    """
    folder = Path(path)
    manifest = Manifest.from_json(_read(folder / MANIFEST_NAME))
    document = Reader.from_json(_read(folder / MLMODEL), subject=MLMODEL, error=ConfigError)
    ours = document.child("flavors").child(FLAVOR)
    form = Form(ours.one_of("answers", Form))
    session = Session.load(folder / MODEL_NAME, manifest.runtime)
    text_dtype = ours.text("text_dtype", "")
    if not _TEXTS.fullmatch(text_dtype):
        ours.fail("text_dtype", "a width of texts like <U6, or nothing")
    return EdgeModel(session, manifest.binding, form, text_dtype)


def table(binding: Binding, data: Rows) -> Table:
    """Return rows as MLflow hands them over as the binding's columns or tensors."""
    names = [name for tensor in binding.inputs for name in tensor.columns]
    if isinstance(data, pd.DataFrame):
        return _from_frame(names, data)
    if isinstance(data, Mapping):
        return {str(name): np.asarray(array) for name, array in data.items()}
    array = np.asarray(data)
    if len(names) == 1:
        return {names[0]: array}
    if array.ndim != _MATRIX or array.shape[1] != len(names):
        raise SchemaError(
            f"an array of shape {array.shape}: the model takes {len(names)} columns,"
            f" {', '.join(names[:5])} first"
        )
    return dict(zip(names, array.T, strict=True))


def _from_frame(names: list[str], frame: pd.DataFrame) -> Table:
    if len(names) == 1 and names[0] not in frame.columns:
        return {names[0]: frame.to_numpy()}  # one tensor, its columns side by side
    return {str(name): _column(frame[name]) for name in frame.columns}


def _column(column: "pd.Series[Any]") -> Array:
    texts = isinstance(column.dtype, pd.StringDtype)
    return column.to_numpy(dtype=object) if texts else column.to_numpy()


def _shaped(
    prediction: Array | dict[str, Array], form: Form, index: "pd.Index | None"
) -> Answer:
    match form:
        case Form.LIST:
            lone = _lone(prediction)
            return list(lone.tolist())
        case Form.FRAME if index is not None and not isinstance(prediction, dict):
            return pd.DataFrame(prediction, index=index)
        case Form.NAMED if index is not None and isinstance(prediction, dict):
            # As MLflow does, whatever the width: a flat column for each output.
            return pd.DataFrame({k: array.reshape(-1) for k, array in prediction.items()})
    return prediction


def _lone(prediction: Array | dict[str, Array]) -> Array:
    return next(iter(prediction.values())) if isinstance(prediction, dict) else prediction


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; a flavor's folder as `edgekit"
            " convert` wrote it is expected"
        ) from error
