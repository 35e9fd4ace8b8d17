"""XGBoost: boosters and its scikit-learn wrappers, from files that hold data only.

Answers as mlflow.xgboost's python_function does: a Booster through a DMatrix, all of its
trees; a wrapper as its class predicts, up to the best iteration of an early stop.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost
from xgboost.core import XGBoostError

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks.boosting import xgboost_dump
from edgekit_converters.frameworks.boosting.boosted_model import (
    Native,
    extract,
    refuse_params,
)
from edgekit_converters.intake.unloadable import UnloadableError
from edgekit_converters.job import Job

_PARSER = "json.cc"  # the source of XGBoost that reads both forms of its files
_PLACE = re.compile(r"^\[[\d:]+\] (/\S*/)?")  # "[18:16:57] /workspace/src/common/"
_BOOSTER = "xgboost.core.Booster"
_WRAPPERS = (
    "XGBClassifier",
    "XGBRFClassifier",
    "XGBRFRegressor",
    "XGBRanker",
    "XGBRegressor",
)


def convert(job: Job) -> Extraction:
    """Load the booster, ask it about the samples, and convert it.

    ConversionError when the file cannot be loaded or has no faithful ONNX form.
    """
    refuse_params(job)
    wrapper = _class(job)
    model = _load(job, wrapper)
    of = _of_booster if wrapper == _BOOSTER else _of_wrapper
    return extract(job, of(model))


def _class(job: Job) -> str:
    given = str(job.source.configuration.get("model_class", _BOOSTER))
    if given == _BOOSTER:
        return given
    module, _, name = given.rpartition(".")
    if module != "xgboost.sklearn" or name not in _WRAPPERS:
        raise ConversionError(
            f"{job.source.path.name}: of class {given}, {_BOOSTER} or one of"
            f" {', '.join(_WRAPPERS)} is expected; log its booster (get_booster())"
        )
    return name


def _load(job: Job, wrapper: str) -> Any:  # noqa: ANN401 - XGBoost has no types
    path = job.source.path
    model = xgboost.Booster() if wrapper == _BOOSTER else getattr(xgboost, wrapper)()
    try:
        model.load_model(path)
    except (XGBoostError, LookupError, TypeError, ValueError) as error:
        reason = _reason(error)
        if _cut_off(path) or _PARSER in reason:
            raise ConversionError(
                f"{path.name}: damaged or cut off: XGBoost {xgboost.__version__} cannot"
                f" read it as JSON or UBJSON ({reason}); save it again with save_model"
            ) from error
        saved = job.source.configuration.get("xgb_version", "another version")
        raise UnloadableError(
            f"{path.name}: XGBoost {xgboost.__version__} cannot load it, it was saved with"
            f" {saved} ({reason}). If it is of the binary format that 3.1 dropped,"
            " load it with an older XGBoost, save it again as model.ubj and log that, or"
            " keep the requirements.txt that MLflow logged beside it (see --isolate)"
        ) from error
    return model


def _of_booster(booster: Any) -> Native:  # noqa: ANN401
    def predict(given: Array | pd.DataFrame) -> Array:
        answers: Array = booster.predict(xgboost.DMatrix(given))
        return answers

    return Native(
        boosted=xgboost_dump.read(bytes(booster.save_raw("json"))),
        framework="xgboost",
        distributions=("xgboost", "xgboost-cpu"),
        predict=predict,
        failures=(XGBoostError,),
    )


def _of_wrapper(model: Any) -> Native:  # noqa: ANN401
    boosted = xgboost_dump.of_estimator(model)
    classes = getattr(model, "classes_", None)
    several = classes is not None and len(classes) == 2 and boosted.targets > 1  # noqa: PLR2004
    return Native(
        boosted=boosted,
        framework="xgboost",
        distributions=("xgboost", "xgboost-cpu"),
        predict=model.predict,
        failures=(XGBoostError,),
        classes=None if classes is None else np.asarray(classes),
        probabilities=None if classes is None or several else model.predict_proba,
    )


def _cut_off(path: Path) -> bool:
    """Whether it begins as an object of JSON or UBJSON does, but does not end as one."""
    data = path.read_bytes()
    return data.startswith(b"{") and not data.rstrip().endswith(b"}")


def _reason(error: Exception) -> str:
    """Return the first line of what XGBoost says, without the time and its folders."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _PLACE.sub("", lines[0])[-200:] if lines else type(error).__name__
