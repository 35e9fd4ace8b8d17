"""LightGBM: boosters in its own text format, which holds data only.

Answers as mlflow.lightgbm's python_function does: Booster.predict. Its scikit-learn
wrappers come pickled or as skops and go the way of scikit-learn.
"""

import re
from dataclasses import replace
from pathlib import Path

import lightgbm
from lightgbm.basic import LightGBMError

from edgekit.errors import ConversionError
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks.boosting import lightgbm_dump
from edgekit_converters.frameworks.boosting.boosted_model import (
    Native,
    extract,
    refuse_params,
)
from edgekit_converters.job import Job

_UNNAMED = re.compile(r"Column_\d+")  # what LightGBM calls the columns of a plain matrix


def convert(job: Job) -> Extraction:
    """Load the booster, ask it about the samples, and convert it.

    ConversionError when the file cannot be loaded or has no faithful ONNX form.
    """
    refuse_params(job)
    path = job.source.path
    text = _text(path)
    boosted = lightgbm_dump.read(text)  # first: LightGBM aborts on a damaged text
    try:
        booster = lightgbm.Booster(model_str=text)
    except (LightGBMError, TypeError, ValueError) as error:
        raise ConversionError(
            f"{path.name}: LightGBM {lightgbm.__version__} cannot load it ({error});"
            " save it again with Booster.save_model"
        ) from error
    if not boosted.listed and all(_UNNAMED.fullmatch(name) for name in boosted.names):
        boosted = replace(boosted, names=())
    return extract(
        job,
        Native(
            boosted=boosted,
            framework="lightgbm",
            distributions=("lightgbm",),
            predict=booster.predict,
            failures=(LightGBMError,),
        ),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")  # whichever line ends another system wrote
    except (OSError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path.name}: not a text: {error}") from error
