"""Signatures as MLflow writes them, and requests for them: what the schema's tests say."""

from typing import Any

import numpy as np

Entries = list[dict[str, object]]


def column(
    kind: str, name: str | None = "a", *, required: bool = True
) -> dict[str, object]:
    entry: dict[str, object] = {"type": kind, "required": required}
    return entry if name is None else {**entry, "name": name}


def tensor(dtype: str, shape: list[int], name: str | None = None) -> dict[str, object]:
    spec = {"dtype": dtype, "shape": shape}
    entry: dict[str, object] = {"type": "tensor", "tensor-spec": spec}
    return entry if name is None else {**entry, "name": name}


def records(*values: object, name: str = "a") -> dict[str, object]:
    return {"dataframe_records": [{name: value} for value in values]}


def objects(*values: object) -> np.ndarray[Any, Any]:
    return np.fromiter(values, dtype=object, count=len(values))


def nested(kind: str, name: str = "a", **rest: object) -> dict[str, object]:
    return {"type": kind, "name": name, "required": True, **rest}


DOUBLES = nested("array", items={"type": "double"})
TEXTS = nested("array", items={"type": "string"})
PERSON = nested(
    "object",
    properties={
        "age": {"type": "long", "required": True},
        "nick": {"type": "string", "required": False},
    },
)
SHARES = nested("map", values={"type": "double"})
A_B = [column("double", "a"), column("double", "b")]
A_OPTIONAL_B = [column("double", "a"), column("double", "b", required=False)]
UNNAMED = [column("double", None)] * 3
