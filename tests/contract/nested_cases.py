"""Random signatures of lists and objects, with tables and requests that nearly fit."""

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgekit.schema import Table
from tests.contract.schema_cases import BAD_JSON, GOOD_JSON, Entries, request_body

SCALARS = st.sampled_from(list(GOOD_JSON))
PROPERTIES = st.sampled_from(["x", "y", "z"])
Type = dict[str, Any]


def types() -> st.SearchStrategy[Type]:
    """Types of lists and objects, two or three deep."""
    scalar = SCALARS.map(lambda kind: {"type": kind})
    inner = st.one_of(scalar, scalar, st.just({"type": "any"}))
    for _ in range(2):
        inner = st.one_of(scalar, _wrapped(inner))
    return _wrapped(inner)


def _wrapped(inner: st.SearchStrategy[Type]) -> st.SearchStrategy[Type]:
    properties = st.dictionaries(
        PROPERTIES,
        st.tuples(inner.filter(_may_be_property), st.sampled_from([True, True, False])).map(
            lambda pair: {**pair[0], "required": pair[1]}
        ),
        min_size=1,
        max_size=3,
    )
    return st.one_of(
        inner.map(lambda one: {"type": "array", "items": one}),
        inner.map(lambda one: {"type": "array", "items": one}),
        properties.map(lambda some: {"type": "object", "properties": some}),
        inner.map(lambda one: {"type": "map", "values": one}),
        st.sampled_from([{"type": "any"}, {"type": "sparkml_vector"}]),
    )


def _may_be_property(kind: Type) -> bool:
    return bool(kind["type"] != "sparkml_vector")


@st.composite
def nested_signatures(draw: st.DrawFn) -> Entries:
    scalars = SCALARS.map(lambda kind: {"type": kind})
    columns = [draw(types())] + [draw(scalars)] * draw(st.integers(0, 1))
    if not draw(st.integers(0, 4)):
        return [dict(column) for column in columns]
    need: st.SearchStrategy[Type] = st.sampled_from(
        [{"required": True}, {"required": False}, {}]
    )
    return [
        {**column, "name": name, **draw(need)}
        for name, column in zip("ab", columns, strict=False)
    ]


def value(draw: st.DrawFn, kind: Type) -> Any:  # noqa: ANN401 - JSON
    """A value that fits the type, one in some places where it does not."""
    if not draw(st.integers(0, 14)):
        return draw(BAD_JSON)
    if kind["type"] == "object":
        return _object(draw, kind["properties"])
    if kind["type"] == "array":
        count = draw(st.integers(0, 3))
        return [value(draw, kind["items"]) for _ in range(count)]
    if kind["type"] == "map":
        names = draw(st.lists(PROPERTIES, max_size=2, unique=True))
        return {name: value(draw, kind["values"]) for name in names}
    loose: dict[str, st.SearchStrategy[Any]] = {
        "sparkml_vector": st.lists(st.floats(), max_size=3),
        "any": st.one_of(BAD_JSON, st.lists(BAD_JSON, max_size=2)),
    }
    return draw({**GOOD_JSON, **loose}[kind["type"]])


def _object(draw: st.DrawFn, properties: dict[str, Type]) -> dict[str, Any]:
    given = {}
    for name, one in properties.items():
        if draw(st.integers(0, 9)) and (one["required"] or draw(st.booleans())):
            given[name] = value(draw, one)
    if not draw(st.integers(0, 14)):
        given["extra"] = 1
    return given


def _columns(draw: st.DrawFn, signature: Entries, rows: int) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {}
    for i, entry in enumerate(signature):
        name = str(entry.get("name", f"u{i}"))
        if draw(st.integers(0, 9)):
            columns[name] = [value(draw, entry) for _ in range(rows)]
    if not draw(st.integers(0, 9)):
        columns["extra"] = [1] * rows
    return columns


@st.composite
def nested_requests(draw: st.DrawFn) -> tuple[Entries, bytes]:
    signature = draw(nested_signatures())
    rows = draw(st.integers(0, 3))
    columns = _columns(draw, signature, rows)
    if not draw(st.integers(0, 2)):
        row = {name: column[0] for name, column in columns.items() if column}
        forms = [{"inputs": row}, {"inputs": [row]}, {"instances": [row]}]
        return signature, json.dumps(draw(st.sampled_from(forms))).encode()
    return signature, request_body(draw, columns, rows)


@st.composite
def nested_tables(draw: st.DrawFn) -> tuple[Entries, Table]:
    signature = draw(nested_signatures())
    rows = draw(st.integers(0, 3))
    table = {}
    for name, cells in _columns(draw, signature, rows).items():
        held = [_array(draw, cell) for cell in cells] if draw(st.booleans()) else cells
        table[name] = np.fromiter(held, dtype=object, count=rows)
    return signature, table


def _array(draw: st.DrawFn, cell: object) -> object:
    """A list of numbers as the array that a program would hold."""
    plain = isinstance(cell, list) and {type(one) for one in cell} in ({int}, {float})
    if not plain or any(isinstance(v, int) and abs(v) >= 2**63 for v in cell):  # type: ignore[attr-defined]
        return cell
    dtype = draw(st.sampled_from([None, None, "float32", "float64"]))
    return np.array(cell, dtype)


@st.composite
def object_params(draw: st.DrawFn) -> tuple[Entries, object]:
    properties = {
        "x": {"type": "long", "required": True},
        "y": {"type": "array", "items": {"type": "double"}, "required": False},
    }
    entry: dict[str, object] = {
        "name": "k",
        "type": "object",
        "properties": properties,
        "default": {"x": 1},
        "shape": None,
    }
    return [entry], {"k": value(draw, {"type": "object", "properties": properties})}
