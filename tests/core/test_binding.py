import numpy as np
import pytest

from edgekit.binding import feeds, results
from edgekit.errors import SchemaError
from edgekit.manifest import Binding, OutputRole, TensorInput, TensorOutput


def output(
    name: str, tensor: str, role: OutputRole, dtype: str, *shape: int
) -> TensorOutput:
    return TensorOutput(name=name, tensor=tensor, role=role, dtype=dtype, shape=shape)


def bound(*inputs: TensorInput) -> Binding:
    return Binding(
        inputs=inputs,
        outputs=(
            output("", "label", OutputRole.PREDICTION, "int64", -1),
            output("probabilities", "p", OutputRole.PROBABILITY, "float64", -1, 2),
        ),
        classes=("0", "1"),
    )


PACKED = TensorInput(name="x", dtype="float32", columns=("a", "b"), shape=(-1, 2))


def test_columns_are_packed_side_by_side_in_the_bindings_order() -> None:
    table = {"b": np.array([3.0, 4.0]), "a": np.array([1, 2])}
    packed = feeds(bound(PACKED), table)["x"]
    assert packed.dtype == np.float32
    assert packed.tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_one_column_alone_becomes_a_column_of_one() -> None:
    city = TensorInput(name="city", dtype="str", columns=("city",), shape=(-1, 1))
    fed = feeds(bound(city), {"city": np.array(["Bilbao", "Eibar"], dtype=object)})
    assert fed["city"].tolist() == [["Bilbao"], ["Eibar"]]


def test_a_tensor_keeps_its_shape_and_is_cast() -> None:
    image = TensorInput(name="x", dtype="float32", columns=("",), shape=(-1, 2, 2, 1))
    fed = feeds(bound(image), {"": np.zeros((3, 2, 2, 1))})
    assert fed["x"].shape == (3, 2, 2, 1)
    assert fed["x"].dtype == np.float32


def test_a_missing_column_is_refused_by_name() -> None:
    with pytest.raises(SchemaError, match=r"missing inputs \['b'\]"):
        feeds(bound(PACKED), {"a": np.array([1.0])})


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([[1.0]], [1.0]), (1.0, 2.0)])
def test_columns_that_nobody_checked_and_do_not_match_are_refused(
    a: object, b: object
) -> None:
    with pytest.raises(SchemaError, match="lists of one length are expected"):
        feeds(bound(PACKED), {"a": np.array(a), "b": np.array(b)})


def test_a_lone_value_that_nobody_checked_is_refused() -> None:
    alone = TensorInput(name="x", dtype="float32", columns=("",), shape=(-1,))
    with pytest.raises(SchemaError, match="a lone value"):
        feeds(bound(alone), {"": np.array(1.0)})


def test_a_missing_text_is_refused_not_turned_into_a_word() -> None:
    city = TensorInput(name="city", dtype="str", columns=("city",), shape=(-1, 1))
    with pytest.raises(SchemaError, match="row 1 holds None"):
        feeds(bound(city), {"city": np.array(["Bilbao", None], dtype=object)})


def test_a_text_for_a_number_is_refused() -> None:
    with pytest.raises(SchemaError, match="column a: object cannot become float32"):
        feeds(
            bound(PACKED),
            {"a": np.array(["many"], dtype=object), "b": np.array([1.0])},
        )


def test_the_answer_has_the_originals_type_and_shape() -> None:
    raw = {
        "label": np.array([[1], [0]], dtype=np.float32),
        "p": np.array([[0.25, 0.75], [1.0, 0.0]], dtype=np.float32),
    }
    answer = results(bound(PACKED), raw)
    assert isinstance(answer.prediction, np.ndarray)
    assert answer.prediction.dtype == np.int64
    assert answer.prediction.tolist() == [1, 0]
    assert answer.probabilities is not None
    assert answer.probabilities.dtype == np.float64
    assert answer.score is None


def test_named_outputs_stay_named() -> None:
    binding = Binding(
        inputs=(PACKED,),
        outputs=(
            output("left", "l", OutputRole.PREDICTION, "float32", -1, 1),
            output("right", "r", OutputRole.PREDICTION, "float32", -1, 1),
        ),
    )
    raw = {"l": np.ones((2, 1), np.float32), "r": np.zeros((2, 1), np.float32)}
    answer = results(binding, raw)
    assert isinstance(answer.prediction, dict)
    assert sorted(answer.prediction) == ["left", "right"]


def test_a_column_of_lists_becomes_a_tensor() -> None:
    spectrum = TensorInput(name="x", dtype="float32", columns=("s",), shape=(-1, 2))
    cells = np.fromiter([[0.5, 1.5], np.array([2.5, 3.5])], dtype=object, count=2)
    assert feeds(bound(spectrum), {"s": cells})["x"].tolist() == [[0.5, 1.5], [2.5, 3.5]]


def test_lists_of_different_lengths_are_refused_by_the_columns_name() -> None:
    spectrum = TensorInput(name="x", dtype="float32", columns=("s",), shape=(-1, 2))
    cells = np.fromiter([[0.5, 1.5], [2.5]], dtype=object, count=2)
    with pytest.raises(SchemaError, match="column s: its lists are of different lengths"):
        feeds(bound(spectrum), {"s": cells})
