"""Random signatures, tables and scoring requests, most of them nearly right."""

import json
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.schema import Table

Entries = list[dict[str, object]]

COLUMN_DTYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "<U3",
    "binary": "S2",
    "datetime": "datetime64[ns]",
}
TYPES = st.sampled_from(list(COLUMN_DTYPES))
NAMES = st.sampled_from(["a", "b", "c", "d", "é x"])
OTHER_DTYPES = st.sampled_from(
    [
        *("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex128", "<U3", "S3"),
        *("datetime64[D]", "datetime64[s]", "datetime64[us]", "timedelta64[s]"),
    ]
)
TENSOR_DTYPES = st.sampled_from(
    ["float32", "float64", "int64", "int32", "uint8", "bool", "str", "bytes", "object"]
)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text("ab1.", max_size=3),
    st.binary(max_size=2),
)
GOOD_JSON: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32),
    "double": st.floats(),
    "string": st.text("abé", max_size=3),
    "binary": st.sampled_from(["aGk=", "", "AAA="]),
    "datetime": st.sampled_from(["2020-01-01", "2021-12-31"]),
}
BAD_JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["1", "2.5", "abc", "", "false", "nan", "aGk", "é", "2020-13-01"]),
    st.sampled_from(["2020-01-01T10:00:00", "2020-01-01T10:00:00.5", "1500-01-01"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.just({"q": 1}),
)
ODD_BODIES = st.sampled_from(
    [
        {"dataframe_records": [1, 2]},
        {"dataframe_records": {"a": 1}},
        {"dataframe_records": 5},
        {"dataframe_records": []},
        {"dataframe_records": [{"a": 1}, 5]},
        {"dataframe_records": [[1, 2], [3]]},
        {"dataframe_records": [[1, {"a": 2}], [3]]},
        {"dataframe_records": [{}]},
        {"dataframe_split": []},
        {"dataframe_split": {"columns": ["a"]}},
        {"dataframe_split": {"data": [], "x": 1}},
        {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [1, 2]}},
        {"dataframe_split": {"columns": ["a"], "data": [1, 2]}},
        {"dataframe_split": {"columns": [None], "data": [[1]]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [7]}},
        {"dataframe_split": {"columns": ["a"], "data": []}},
        {"instances": [{"a": 1}, 3]},
        {"inputs": [{"a": 1}, 3]},
        {"inputs": {}},
        {"inputs": [{}]},
        {"inputs": [], "instances": []},
        {},
    ]
)


@st.composite
def column_signatures(draw: st.DrawFn) -> Entries:
    if draw(st.integers(0, 3)) == 0:
        unnamed = draw(st.lists(TYPES, min_size=1, max_size=3))
        return [{"type": kind, "required": True} for kind in unnamed]
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    required = st.sampled_from([True, True, False])
    return [{"type": draw(TYPES), "name": n, "required": draw(required)} for n in names]


@st.composite
def tensor_signatures(draw: st.DrawFn) -> Entries:
    names: list[str | None] = [None]
    if draw(st.booleans()):
        names = list(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)))
    return [_tensor_entry(draw, name) for name in names]


def _tensor_entry(draw: st.DrawFn, name: str | None) -> dict[str, object]:
    inner = draw(st.lists(st.sampled_from([-1, 1, 2]), max_size=2))
    first = draw(st.sampled_from([-1, -1, -1, 2]))
    spec = {"dtype": draw(TENSOR_DTYPES), "shape": [first, *inner]}
    entry: dict[str, object] = {"type": "tensor", "tensor-spec": spec}
    return entry if name is None else {**entry, "name": name}


def _given_names(draw: st.DrawFn, signature: Entries) -> list[str]:
    """Most of the names, in any order, sometimes with one too many."""
    names = [str(entry.get("name", f"u{i}")) for i, entry in enumerate(signature)]
    kept = [name for name in names if draw(st.integers(0, 9))]
    extra = [] if draw(st.integers(0, 5)) else ["extra"]
    return draw(st.permutations(kept + extra))


def _numbers(draw: st.DrawFn, dtype: str, rows: int) -> NDArray[Any]:
    if dtype.startswith("datetime"):
        days = draw(hnp.arrays("int64", rows, elements=st.integers(0, 20_000)))
        return days.astype("datetime64[D]").astype(dtype)
    return draw(hnp.arrays(dtype, rows))


def _objects(draw: st.DrawFn, rows: int) -> NDArray[Any]:
    mixes = [
        ANYTHING,
        st.integers(-5, 5),
        st.floats(),
        st.text("ab", max_size=2),
        st.one_of(st.none(), st.text("ab", max_size=2)),
        st.one_of(st.none(), st.integers(0, 3)),
        st.one_of(st.none(), st.booleans()),
        st.binary(max_size=2),
    ]
    values = draw(st.lists(draw(st.sampled_from(mixes)), min_size=rows, max_size=rows))
    return np.fromiter(values, dtype=object, count=rows)


@st.composite
def column_tables(draw: st.DrawFn) -> tuple[Entries, Table]:
    signature = draw(column_signatures())
    kinds = {entry.get("name"): str(entry["type"]) for entry in signature}
    rows = draw(st.integers(0, 4))
    table = {}
    for name in _given_names(draw, signature):
        how = draw(st.integers(0, 4))
        if how < 2 and name in kinds:
            table[name] = _numbers(draw, COLUMN_DTYPES[kinds[name]], rows)
        elif how == 2:
            small = st.one_of(st.integers(0, 1), st.integers(-(2**62), 2**62))
            table[name] = draw(hnp.arrays("int64", rows, elements=small))
        elif how == 3:
            table[name] = _objects(draw, rows)
        else:
            table[name] = _numbers(draw, draw(OTHER_DTYPES), rows)
    return signature, table


def _json_column(draw: st.DrawFn, kind: str, rows: int) -> list[object]:
    how = draw(st.integers(0, 3))
    if how < 2:
        cell = GOOD_JSON[kind]
    elif how == 2:
        cell = st.one_of(GOOD_JSON[kind], GOOD_JSON[kind], st.none(), BAD_JSON)
    else:
        cell = draw(st.sampled_from([BAD_JSON, GOOD_JSON[draw(TYPES)]]))
    return draw(st.lists(cell, min_size=rows, max_size=rows))


@st.composite
def column_requests(draw: st.DrawFn) -> tuple[Entries, bytes]:
    signature = draw(column_signatures())
    kinds = {
        str(entry.get("name", f"u{i}")): str(entry["type"])
        for i, entry in enumerate(signature)
    }
    rows = draw(st.integers(0, 3))
    columns = {
        name: _json_column(draw, kinds.get(name, "long"), rows)
        for name in _given_names(draw, signature)
    }
    return signature, request_body(draw, columns, rows)


def request_body(draw: st.DrawFn, columns: dict[str, list[object]], rows: int) -> bytes:
    """Columns in any of the forms of a scoring request."""
    names = list(columns)
    records = [{name: columns[name][i] for name in names} for i in range(rows)]
    lists = [list(record.values()) for record in records]
    if records and names and not draw(st.integers(0, 9)):
        draw(st.sampled_from(records)).pop(names[0])
    first = {name: column[0] if column else None for name, column in columns.items()}
    mixed = {n: draw(st.sampled_from([columns[n], first[n]])) for n in names}
    bare = [lists, *columns.values(), *lists, 5, "x", None, 1.5, True]
    body = draw(
        st.sampled_from(
            [
                {"dataframe_split": {"columns": names, "data": lists}},
                {"dataframe_split": {"data": lists}},
                {"dataframe_records": records},
                {"instances": records},
                {"inputs": records},
                {"inputs": columns},
                {"inputs": mixed},
                {"inputs": draw(st.sampled_from(bare))},
                {"instances": draw(st.sampled_from(bare))},
                draw(ODD_BODIES),
            ]
        )
    )
    return json.dumps(body).encode()


@st.composite
def tensor_tables(draw: st.DrawFn) -> tuple[Entries, Table]:
    signature = draw(tensor_signatures())
    names = _given_names(draw, signature)
    if "name" not in signature[0] and draw(st.integers(0, 5)):
        names = [""]
    table = {}
    for name in names:
        entry = next((e for e in signature if e.get("name", "") == name), signature[0])
        table[name] = _tensor(draw, entry["tensor-spec"])
    return signature, table


def _tensor(draw: st.DrawFn, spec: Any) -> NDArray[Any]:  # noqa: ANN401 - JSON
    shape = [draw(st.integers(0, 3)) if n == -1 else n for n in spec["shape"]]
    if not draw(st.integers(0, 4)):
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
    dtype = spec["dtype"] if draw(st.integers(0, 4)) else draw(TENSOR_DTYPES)
    if dtype == "object":
        return np.full(shape, None, dtype=object)
    return np.zeros(shape, dtype)


@st.composite
def tensor_requests(draw: st.DrawFn) -> tuple[Entries, bytes]:
    signature = draw(tensor_signatures())
    rows = draw(st.integers(1, 3))
    columns: dict[str, list[object]] = {}
    for name in _given_names(draw, signature):
        entry = next((e for e in signature if e.get("name") == name), signature[0])
        columns[name] = _nested(draw, entry["tensor-spec"], rows)
    return signature, request_body(draw, columns, rows)


def _nested(draw: st.DrawFn, spec: Any, rows: int) -> list[object]:  # noqa: ANN401
    inner = [draw(st.integers(1, 2)) if n == -1 else n for n in spec["shape"][1:]]
    if not draw(st.integers(0, 4)):
        inner = draw(st.lists(st.integers(0, 2), max_size=2))
    text = spec["dtype"] in ("str", "bytes")
    good = st.text("abc", max_size=2) if text else st.integers(0, 3)
    cell: st.SearchStrategy[Any] = good
    if not draw(st.integers(0, 3)):
        cell = st.one_of(good, BAD_JSON)
    return [_filled(draw, inner, cell) for _ in range(rows)]


def _filled(draw: st.DrawFn, shape: list[int], cell: st.SearchStrategy[Any]) -> Any:  # noqa: ANN401
    if not shape:
        return draw(cell)
    return [_filled(draw, shape[1:], cell) for _ in range(shape[0])]


CSV_CELLS = {
    "boolean": st.sampled_from(["True", "false", "TRUE", "1", "0"]),
    "integer": st.integers(-9, 9).map(str),
    "long": st.one_of(st.integers(-(2**63), 2**63 - 1).map(str), st.just("2.0")),
    "float": st.floats(-99, 99, width=16).map(str),
    "double": st.floats(-99, 99, width=16).map(repr),
    "string": st.text("abé ", max_size=3),
    "binary": st.text("ab", max_size=3),
    "datetime": st.just("2020-01-01"),
}
ODD_CELLS = st.sampled_from(
    [
        "",
        "NA",
        "nan",
        "2",
        "1.5",
        "abc",
        "True",
        " 3 ",
        "1e3",
        "inf",
        '"a,b"',
        '"a""b"',
        "-",
    ]
)
LONG_CELLS = st.sampled_from(["9223372036854775808", "9" * 30, "1_0", "2020-01-01"])


@st.composite
def csv_requests(draw: st.DrawFn) -> tuple[Entries, str]:
    """Rows as `to_csv` writes them, some with an index, a cell too many or too few."""
    signature = draw(column_signatures())
    kinds = {
        str(entry.get("name", f"u{i}")): str(entry["type"])
        for i, entry in enumerate(signature)
    }
    names = _given_names(draw, signature)
    rows = []
    for _ in range(draw(st.integers(0 if "name" in signature[0] else 1, 4))):
        cells = [CSV_CELLS[kinds.get(name, "long")] for name in names]
        row = [
            draw(draw(st.sampled_from([c, c, c, c, c, ODD_CELLS, LONG_CELLS])))
            for c in cells
        ]
        rows.append(",".join(row))
    if "name" in signature[0] and not draw(st.integers(0, 4)):
        names = ["", *names]
        rows = [f"{i},{row}" for i, row in enumerate(rows)]
    if rows and not draw(st.integers(0, 9)):
        rows[draw(st.integers(0, len(rows) - 1))] += draw(st.sampled_from([",9", '"', " "]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return signature, end.join([",".join(names), *rows]) + end


PARAM_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False),
    st.text("ab1", max_size=2),
    st.sampled_from(["2020-01-01", "2020-01-01T10:00:00"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.just({"q": 1}),
)
PARAM_DEFAULTS: dict[str, object] = {
    "boolean": True,
    "integer": 1,
    "long": 2,
    "float": 0.5,
    "double": 1.5,
    "string": "x",
    "datetime": "2020-01-01",
}


@st.composite
def param_requests(draw: st.DrawFn) -> tuple[Entries | None, object]:
    """At most one parameter can be wrong: MLflow lists several in no fixed order."""
    if not draw(st.integers(0, 5)):
        return None, draw(PARAM_VALUES)
    kind = draw(st.sampled_from(list(PARAM_DEFAULTS)))
    listed = draw(st.booleans())
    default = PARAM_DEFAULTS[kind]
    entry: dict[str, object] = {
        "name": "k",
        "type": kind,
        "default": [default] if listed else default,
        "shape": [-1] if listed else None,
    }
    other: dict[str, object] = {"name": "n", "type": "long", "default": 3, "shape": None}
    given: object = {"k": draw(PARAM_VALUES)}
    if not draw(st.integers(0, 4)):
        given = draw(st.sampled_from([{}, None, 5, [], {"z": 1}, {"n": 7}]))
    return [entry, other], given
