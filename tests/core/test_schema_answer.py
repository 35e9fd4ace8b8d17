import json

import numpy as np
import pytest

from edgekit.errors import RequestError, SchemaError
from edgekit.schema import encode_predictions, encode_refusal


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        (np.array([1.5, np.nan, np.inf]), '{"predictions": [1.5, NaN, Infinity]}'),
        (np.array([[1, 2]]), '{"predictions": [[1, 2]]}'),
        (np.array([0.1], np.float32), '{"predictions": [0.10000000149011612]}'),
        (np.array(["é"]), '{"predictions": ["\\u00e9"]}'),
        (np.array([True]), '{"predictions": [true]}'),
        (np.array([b"a"]), '{"predictions": ["YQ==\\n"]}'),
        (np.array(["2020-01-01"], "M8[us]"), '{"predictions": ["2020-01-01T00:00:00"]}'),
        (np.array(["2020-01-01"], "M8[ns]"), '{"predictions": [1577836800000000000]}'),
        (
            {"p": np.array([1.5]), "q": np.array(["x"])},
            '{"predictions": {"p": [1.5], "q": ["x"]}}',
        ),
    ],
)
def test_answers_are_those_of_mlflows_server(
    prediction: np.ndarray[tuple[int, ...], np.dtype[np.generic]], answer: str
) -> None:
    assert encode_predictions(prediction).decode() == answer


def test_objects_of_an_array_are_written_by_their_kind() -> None:
    mixed = np.fromiter([1, None, b"x", np.float32(1)], dtype=object, count=4)
    assert encode_predictions(mixed) == b'{"predictions": [1, null, "eA==\\n", 1.0]}'


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="predictions: complex has no JSON form"):
        encode_predictions(np.array([1 + 2j]))


def test_a_refusal_says_whether_the_request_or_the_rows_were_wrong() -> None:
    assert json.loads(encode_refusal(SchemaError("rows"))) == {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": "rows",
    }
    assert json.loads(encode_refusal(RequestError("no JSON"))) == {
        "error_code": "BAD_REQUEST",
        "message": "no JSON",
    }


def test_arrays_by_name_are_rows_where_a_frame_was_asked() -> None:
    answer = {"y": np.array([[0.5], [1.5]]), "n": np.array([1, 2])}
    rows = b'{"predictions": [{"y": 0.5, "n": 1}, {"y": 1.5, "n": 2}]}'
    assert encode_predictions(answer, framed=True) == rows
    named = b'{"predictions": {"y": [[0.5], [1.5]], "n": [1, 2]}}'
    assert encode_predictions(answer) == named
    wide = {"y": np.zeros((2, 2)), "n": np.array([1, 2])}
    assert b'{"y": [[0.0' in encode_predictions(wide, framed=True)
