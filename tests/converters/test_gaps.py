"""Rows with missing or infinite cells: where they are, and how flavors answer them."""

import numpy as np

from edgekit.binding import Predictions
from edgekit_converters.extraction import Task
from edgekit_converters.intake.gaps import find, hint
from edgekit_converters.verdict.exam import set_exam
from edgekit_converters.verdict.missing import sentence
from tests.converters.test_exam import extraction

NAN, INF = float("nan"), float("inf")
TABLE = {
    "age": np.array([1.0, NAN, 3.0, NAN]),
    "name": np.array(["a", "b", "c", "d"], object),
    "hue": np.array([0.5, INF, 1.0, 2.0], np.float32),
    "count": np.array([1, 2, 3, 4]),
}
IMAGES = {"": np.zeros((3, 2, 2), np.float32)}


def test_rows_with_such_cells_are_counted_by_kind_and_the_first_is_named() -> None:
    found = find(TABLE)
    assert found is not None
    assert found.numbers.tolist() == [1, 3]
    assert found.sentence == (
        "2 rows hold missing values and 1 row holds infinite numbers (age, hue)"
    )
    assert hint(TABLE).endswith(
        ", the first is row 1, column age: fill them in or leave them out"
    )


def test_a_cell_of_a_tensor_is_named_by_its_place() -> None:
    assert find(IMAGES) is None
    assert hint(IMAGES) == ""
    images = IMAGES[""].copy()
    images[2, 1, 0] = INF
    assert hint({"": images}) == (
        "; 1 row holds infinite numbers ([2]), the first is row 2, column [2]: fill them in"
        " or leave them out"
    )


def test_flavors_that_answer_such_rows_otherwise_are_named_with_how_many() -> None:
    original = np.array([0, 1, 0, 1], np.int64)
    exam = set_exam(extraction(original, task=Task.CLASSIFICATION))
    same = ("fp32", Predictions(prediction=original))
    other = ("int8", Predictions(prediction=np.array([1, 1, 0, 0], np.int64)))
    told = sentence(TABLE, exam, [same])
    assert told.startswith("samples: of 4 rows, 2 rows hold missing values")
    assert told.endswith("; every flavor that was kept answers them as the original does")
    assert sentence(TABLE, exam, [same, other]).endswith(
        "; int8 answers 1 otherwise; fp32 as the original does"
    )
    assert sentence(IMAGES, exam, [same]) == ""


def test_numbers_are_alike_where_they_are_near() -> None:
    original = np.array([[1.0], [2.0], [3.0], [4.0]])
    exam = set_exam(extraction(original))
    moved = original + np.array([[0.0], [0.001], [0.0], [0.5]])
    told = sentence(TABLE, exam, [("fp16", Predictions(prediction=moved))])
    assert told.endswith("; fp16 answers 1 otherwise")
