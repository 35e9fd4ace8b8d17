import numpy as np
import pytest

from edgekit import golden
from edgekit.binding import Predictions
from edgekit.errors import ConversionError, ProofError
from edgekit.manifest import Binding, OutputRole, TensorInput, TensorOutput
from edgekit.table import Array, rows
from edgekit_converters.outcome.vectors import (
    MAX_ROWS,
    budget_bytes,
    golden_vectors,
    telling_rows,
    tolerance,
)


def binding(batch: int = -1) -> Binding:
    return Binding(
        inputs=(
            TensorInput(name="x", dtype="float32", columns=("a", "b"), shape=(batch, 2)),
        ),
        outputs=(
            TensorOutput(
                name="",
                tensor="y",
                role=OutputRole.PREDICTION,
                dtype="float32",
                shape=(batch, 1),
            ),
        ),
    )


def vectors(
    count: int, *, model_bytes: int, batch: int = -1, columns: int = 2
) -> golden.Golden:
    rng = np.random.default_rng(2)
    table = {f"column {n}": rng.normal(size=count) for n in range(columns)}
    answers = rng.normal(size=(count, 1)).astype(np.float32)
    data = golden_vectors(
        table,
        {"y": answers},
        Predictions(prediction=answers),
        binding=binding(batch),
        model_bytes=model_bytes,
    )
    assert len(data) <= budget_bytes(model_bytes) or rows(golden.decode(data).inputs) == 1
    return golden.decode(data)


def odds(*pairs: tuple[float, float]) -> Predictions:
    probabilities = np.array(pairs, np.float32)
    return Predictions(prediction=probabilities.argmax(axis=1), probabilities=probabilities)


def column(values: list[float]) -> dict[str, Array]:
    return {"a": np.array(values)}


def test_a_large_model_gets_as_many_rows_as_are_useful() -> None:
    assert rows(vectors(500, model_bytes=5_000_000).inputs) == MAX_ROWS


def test_a_small_model_is_not_dominated_by_its_proof() -> None:
    small = vectors(500, model_bytes=5_000, columns=30)
    assert 1 <= rows(small.inputs) < MAX_ROWS


def test_one_row_is_kept_even_when_it_exceeds_the_budget() -> None:
    wide = {f"column {n}": np.ones(3) for n in range(200)}
    data = golden_vectors(
        wide,
        {"y": np.ones((3, 1), np.float32)},
        Predictions(prediction=np.ones((3, 1), np.float32)),
        binding=binding(),
        model_bytes=10,
    )
    assert rows(golden.decode(data).inputs) == 1


def test_a_graph_with_a_fixed_batch_gets_exactly_one_batch() -> None:
    assert rows(vectors(500, model_bytes=5_000_000, batch=1).inputs) == 1


def test_each_class_is_proven_before_anything_else() -> None:
    sure = [(0.9, 0.1)] * 50 + [(0.1, 0.9)] + [(0.9, 0.1)] * 49
    assert telling_rows(column([1.0] * 100), odds(*sure))[:2] == [0, 50]


def test_rows_too_close_to_call_come_last() -> None:
    ranked = telling_rows(
        column([1.0, 2.0, 3.0]), odds((0.51, 0.49), (0.9, 0.1), (0.2, 0.8))
    )
    assert ranked[-1] == 0


def test_rows_at_the_edge_of_the_inputs_are_proven() -> None:
    values = [0.0] * 100
    values[33], values[66] = 9.0, np.nan
    answers = Predictions(prediction=np.zeros((100, 1), np.float32))
    table = {"a": np.array(values), "b": np.arange(100) % 7 + 1.0}
    assert {33, 66} <= set(telling_rows(table, answers))


def test_the_same_samples_give_the_same_vectors() -> None:
    first, second = (vectors(90, model_bytes=40_000) for _ in range(2))
    assert golden.encode(first) == golden.encode(second)


def test_an_output_that_has_no_row_for_each_sample_is_refused() -> None:
    with pytest.raises(ConversionError, match="output y: 1 rows for 3 samples"):
        golden_vectors(
            column([1.0, 2.0, 3.0]),
            {"y": np.ones((1, 1), np.float32)},
            Predictions(prediction=np.ones((3, 1), np.float32)),
            binding=binding(),
            model_bytes=10,
        )


@pytest.mark.parametrize("integer_kernels", [False, True])
def test_tolerance_lets_rounding_pass_and_a_broken_weight_not(
    *, integer_kernels: bool
) -> None:
    answers = {"y": np.array([[120.0], [0.001], [-80.0]], np.float32)}
    allowed, reason = tolerance(answers, integer_kernels=integer_kernels)
    expected = golden.Golden(inputs={}, outputs=answers)
    golden.compare(expected, {"y": answers["y"] * np.float32(1.00001)}, allowed)
    with pytest.raises(ProofError):
        golden.compare(expected, {"y": answers["y"] * np.float32(1.2)}, allowed)
    assert ("integer kernels" in reason) == integer_kernels


def test_answers_without_numbers_have_a_tolerance_too() -> None:
    allowed, _ = tolerance({"label": np.array(["a"], object)}, integer_kernels=False)
    assert allowed.atol > 0
