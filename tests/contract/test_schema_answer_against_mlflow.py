"""The answers' bytes beside those of the installed MLflow's scoring server."""

import io
import warnings
from collections.abc import Mapping
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.schema import encode_predictions

with warnings.catch_warnings():
    # MLflow warns of a type hint of its own while it is imported.
    warnings.filterwarnings("ignore", message=".*Any type hint", category=UserWarning)
    from mlflow.pyfunc.scoring_server import predictions_to_json

pytestmark = pytest.mark.slow

DTYPES = st.sampled_from(
    ["float32", "float64", "float16", "int64", "uint8", "bool", "<U4", "S3", "M8[us]"]
)
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
CELLS = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=3), st.binary(max_size=3)
)
OBJECTS = st.lists(CELLS, max_size=4).map(
    lambda cells: np.fromiter(cells, dtype=object, count=len(cells))
)
ANSWERS = st.one_of(
    ARRAYS, OBJECTS, st.dictionaries(st.text(max_size=3), ARRAYS, max_size=3)
)


@settings(max_examples=300, deadline=None)
@given(ANSWERS)
def test_answers_are_mlflows_to_the_byte(
    prediction: NDArray[Any] | Mapping[str, NDArray[Any]],
) -> None:
    written = io.StringIO()
    predictions_to_json(prediction, written)
    assert encode_predictions(prediction) == written.getvalue().encode()
