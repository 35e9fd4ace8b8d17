"""A scikit-learn model as its author left it: load it, ask it, tell what it answers.

Knows no ONNX. Runs the model's code where that was allowed, and nothing otherwise.
"""

import pickle
import sys
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import joblib  # type: ignore[import-untyped]  # it ships none
import numpy as np
import pandas as pd
import sklearn.base
from sklearn.base import is_classifier, is_outlier_detector, is_regressor

from edgekit.errors import ConversionError
from edgekit.table import Array, Table
from edgekit_converters.extraction import Task
from edgekit_converters.frameworks.scikit.sklearn_instead import unanswered
from edgekit_converters.intake import inputs
from edgekit_converters.intake.gaps import hint
from edgekit_converters.intake.inputs import Inputs
from edgekit_converters.intake.kind import Kind
from edgekit_converters.intake.unloadable import UnloadableError
from edgekit_converters.job import Job

_FUNCTIONS = ("predict", "predict_proba", "decision_function", "transform")
# What skops does not know and MLflow saves boosters with: loading them parses the
# library's own model format, as loading its plain files does, and runs no code.
_DATA_ONLY = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMModel",
        "lightgbm.sklearn.LGBMRanker",
        "lightgbm.sklearn.LGBMRegressor",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBModel",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
        "xgboost.sklearn.XGBRanker",
        "xgboost.sklearn.XGBRegressor",
    }
)
_LOADING = (  # what unpickling a file of another version, or a damaged one, raises
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
_ASKING = (ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the original said of the samples: the prediction and what stands beside it."""

    prediction: Array
    probabilities: Array | None = None  # [rows, classes]
    score: Array | None = None  # of a detector, or distances to clusters
    text_dtype: str = ""  # numpy's name of a prediction of texts that were no objects


def load(job: Job) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Return the fitted estimator, or raise ConversionError."""
    path = job.source.path
    if job.trust_pickle and job.source.code is not None:
        sys.path.insert(0, str(job.source.code))
    try:
        return _load(job)
    except _LOADING as error:
        saved = job.source.configuration.get("sklearn_version", "another version")
        raise UnloadableError(
            f"{path.name}: scikit-learn cannot load it ({_short(error)});"
            f" it was saved with scikit-learn {saved}, here is {version('scikit-learn')}:"
            " keep the requirements.txt that MLflow logged beside it (see --isolate), or"
            " log the model again"
        ) from error


def takes(model: Any) -> Inputs:  # noqa: ANN401 - scikit-learn has no types
    """Return what a model without a signature takes, as far as it remembers."""
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return inputs.columns([str(name) for name in names])
    width = getattr(model, "n_features_in_", None)
    if width is None:
        raise ConversionError(
            f"{type(model).__name__}: neither the model nor a signature tells what it"
            " takes; log it with a signature (mlflow.models.infer_signature)"
        )
    return inputs.matrix(int(width))


def ask(model: Any, function: str, table: Table, taken: Inputs) -> Answers:  # noqa: ANN401
    """Return the model's answers on a table; ConversionError when it fails on it."""
    name = type(model).__name__
    if function not in _FUNCTIONS:
        raise ConversionError(
            f"{name}: python_function calls {function}; one of {', '.join(_FUNCTIONS)} is"
            " expected"
        )
    if not hasattr(model, function):
        raise ConversionError(
            f"{name}: python_function calls {function}, which it does not have;"
            f" {unanswered(name, function)}"
        )
    try:
        return _ask(model, function, _given(table, taken))
    except AttributeError as error:  # as when another version wrote the attributes
        raise UnloadableError(
            f"{name}: the original itself fails on the samples: {error}"
        ) from error
    except _ASKING as error:
        first = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConversionError(
            f"{name}: the original itself fails on the samples: {first}{hint(table)}"
        ) from error


def task(model: Any, function: str, prediction: Array) -> Task:  # noqa: ANN401
    """Return what kind of answer the model gives."""
    if function in {"decision_function", "transform"}:
        return Task.OTHER
    if is_outlier_detector(model):
        return Task.ANOMALY
    if is_classifier(model) or _clusters(model) or prediction.dtype.kind != "f":
        return Task.CLASSIFICATION
    return Task.REGRESSION if is_regressor(model) else Task.OTHER


def classes(model: Any) -> tuple[str, ...]:  # noqa: ANN401 - scikit-learn has no types
    """Return the labels as texts, in the order of the probability columns."""
    known = getattr(model, "classes_", None)
    if not is_classifier(model) or not isinstance(known, np.ndarray):
        return ()
    return tuple(str(label) for label in known.tolist())


def _load(job: Job) -> Any:  # noqa: ANN401 - scikit-learn has no types
    path = job.source.path
    if job.source.kind is Kind.SKLEARN_PICKLE:
        return joblib.load(path)
    import skops.io  # noqa: PLC0415 - what a pickle was made with may not have it

    untrusted = set(skops.io.get_untrusted_types(file=path)) - _DATA_ONLY
    if untrusted and not job.trust_pickle:
        raise ConversionError(
            f"{path.name}: loading it would run code of {', '.join(sorted(untrusted))},"
            " which skops does not trust by default (the list inside the model is only its"
            " author's word). If you trust where it comes from, allow it with"
            " --trust-pickle"
        )
    return skops.io.load(path, trusted=[*untrusted, *_DATA_ONLY])


def _given(table: Table, taken: Inputs) -> Array | pd.DataFrame:
    if not taken.tensors:
        return pd.DataFrame(dict(table))
    if len(taken.fields) > 1:
        raise ValueError(f"it takes one matrix, the signature names {len(taken.fields)}")
    return table[taken.names[0]]


def _ask(model: Any, function: str, given: Array | pd.DataFrame) -> Answers:  # noqa: ANN401
    prediction = np.asarray(getattr(model, function)(given))
    score = None
    if is_outlier_detector(model):
        score = _optional(model, "decision_function", given)
    elif _clusters(model):
        score = _optional(model, "transform", given)
    return Answers(
        prediction=_plain(prediction),
        text_dtype=prediction.dtype.str if prediction.dtype.kind == "U" else "",
        probabilities=_optional(model, "predict_proba", given),
        score=score,
    )


def _short(error: Exception, most: int = 120) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:most]}"


def _clusters(model: Any) -> bool:  # noqa: ANN401 - scikit-learn has no types
    known = getattr(sklearn.base, "is_clusterer", None)  # since 1.6
    if known is None:
        return getattr(model, "_estimator_type", "") == "clusterer"
    return bool(known(model))


def _optional(model: Any, function: str, given: Array | pd.DataFrame) -> Array | None:  # noqa: ANN401
    if not hasattr(model, function):
        return None
    answer = getattr(model, function)(given)
    return answer if isinstance(answer, np.ndarray) else None  # lists: several outputs


def _plain(prediction: Array) -> Array:
    """Return labels as texts or numbers; ValueError for a mixture of both."""
    if prediction.dtype.kind not in "OUS":
        return prediction
    if not all(isinstance(label, str) for label in prediction.flat):
        raise ValueError("its labels are neither all texts nor all numbers")
    return prediction.astype(object)
