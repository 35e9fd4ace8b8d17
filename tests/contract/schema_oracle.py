"""What the installed MLflow says of a table or a scoring request, in comparable form."""

import io
import json
import math
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from edgekit.errors import SchemaError
from edgekit.manifest import Signature
from edgekit.schema import Enforcement, Schema, Table

with warnings.catch_warnings():
    # MLflow warns of a type hint of its own while it is imported.
    warnings.filterwarnings("ignore", message=".*Any type hint", category=UserWarning)
    from mlflow.exceptions import MlflowException
    from mlflow.models.utils import _enforce_params_schema, _enforce_schema
    from mlflow.pyfunc.scoring_server import (
        _split_data_and_params,
        infer_and_parse_data,
        parse_csv_input,
    )
    from mlflow.types import ParamSchema
    from mlflow.types import Schema as MlflowSchema

Entries = list[dict[str, object]]
NESTED = ("array", "object", "map", "any", "sparkml_vector")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Accepted with these values by name, or refused with a sentence.

    `sentence` is None where MLflow failed without one of its own.
    """

    accepted: bool
    sentence: str | None = None
    values: dict[str, tuple[str, list[object]]] = field(default_factory=dict)
    params: dict[str, object] = field(default_factory=dict)


def mlflow_on_table(inputs: Entries, table: Table) -> Verdict:
    """Ask `_enforce_schema`, the heart of `PyFuncModel.predict`."""
    schema = MlflowSchema.from_json(json.dumps(inputs))
    data: Any = table[""] if list(table) == [""] else dict(table)
    if any(entry["type"] in NESTED for entry in inputs) and isinstance(data, dict):
        data = pd.DataFrame(
            {n: a if a.ndim == 1 else pd.Series(list(a)) for n, a in table.items()}
        )
    return _judged(lambda: (_enforce_schema(data, schema), {}))


def mlflow_on_request(
    inputs: Entries | None, body: bytes, params: Entries | None = None
) -> Verdict:
    """Ask the scoring server's parser, then what `PyFuncModel.predict` asks."""
    schema = None if inputs is None else MlflowSchema.from_json(json.dumps(inputs))
    specs = None if params is None else ParamSchema.from_json(json.dumps(params))

    def scored() -> tuple[Any, Any]:
        data, given = _split_data_and_params(body)
        parsed = infer_and_parse_data(data, schema)
        enforced = parsed if schema is None else _enforce_schema(parsed, schema)
        return enforced, _enforce_params_schema(given, specs)

    return _judged(scored)


def mlflow_on_csv(inputs: Entries | None, text: str) -> Verdict:
    """Ask the scoring server's reader of CSV, then what `PyFuncModel.predict` asks."""
    schema = None if inputs is None else MlflowSchema.from_json(json.dumps(inputs))

    def scored() -> tuple[Any, Any]:
        parsed = parse_csv_input(io.StringIO(text), schema)
        return (parsed if schema is None else _enforce_schema(parsed, schema)), {}

    return _judged(scored)


def edgekit_on_csv(
    inputs: Entries | None, text: str, mode: Enforcement = Enforcement.MLFLOW
) -> Verdict:
    """Ask edgekit the same question."""
    try:
        schema = Schema.from_signature(Signature(inputs=inputs))
        found = schema.parse_csv(text.encode(), mode=mode)
    except SchemaError as refusal:
        return Verdict(accepted=False, sentence=comparable(str(refusal)))
    return Verdict(accepted=True, values=_plain(found.table))


def edgekit_on_table(
    inputs: Entries, table: Table, mode: Enforcement = Enforcement.MLFLOW
) -> Verdict:
    """Ask edgekit the same question."""
    try:
        schema = Schema.from_signature(Signature(inputs=inputs))
        found = schema.enforce(table, mode=mode)
    except SchemaError as refusal:
        return Verdict(accepted=False, sentence=comparable(str(refusal)))
    return Verdict(accepted=True, values=_plain(found))


def edgekit_on_request(
    inputs: Entries | None,
    body: bytes,
    params: Entries | None = None,
    mode: Enforcement = Enforcement.MLFLOW,
) -> Verdict:
    """Ask edgekit the same question."""
    try:
        schema = Schema.from_signature(Signature(inputs=inputs, params=params))
        found = schema.parse(body, mode=mode)
    except SchemaError as refusal:
        return Verdict(accepted=False, sentence=comparable(str(refusal)))
    return Verdict(accepted=True, values=_plain(found.table), params=dict(found.params))


def comparable(sentence: str) -> str:
    """Drop what other libraries say inside MLflow's sentence, and the order of sets."""
    own = re.sub(r"(?s) (Error: '|IMPORTANT: ).*", "", sentence)
    own = re.sub(r"(?s)(valid JSON-formatted string\.\nError: ).*", r"\1", own)
    own = re.sub(r"(?s)(casting the input data to a DataFrame: ).*", r"\1", own)
    return re.sub(r"[\[{]([^][{}]*)[]}]", _in_order, own)


def _in_order(match: re.Match[str]) -> str:
    return "[" + ", ".join(sorted(match[1].split(", "))) + "]"


def same(one: object, other: object) -> bool:
    """Compare values of the same type; NaN is itself.

    MLflow leaves some scalars wrapped in arrays without dimensions.
    """
    one, other = _unwrapped(one), _unwrapped(other)
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, bytes) and isinstance(other, bytes):
        return bytes(one) == bytes(other)
    return type(one) is type(other) and repr(one) == repr(other)


def _unwrapped(value: object) -> object:
    match value:
        case pd.Timestamp() | np.datetime64():
            return int(pd.Timestamp(value).value)
        case np.ndarray() | np.generic():
            return value.tolist()
    return value


def _judged(ask: Any) -> Verdict:  # noqa: ANN401 - a question to an untyped library
    try:
        data, params = ask()
    except MlflowException as refusal:
        return Verdict(accepted=False, sentence=comparable(refusal.message))
    except Exception:  # noqa: BLE001 - MLflow lets anything out; predict() wraps it
        return Verdict(accepted=False)
    return Verdict(accepted=True, values=_plain_mlflow(data), params=params)


def _plain_mlflow(data: Any) -> dict[str, tuple[str, list[object]]]:  # noqa: ANN401
    match data:
        case pd.DataFrame():
            return {
                str(label): _column(data.iloc[:, i]) for i, label in enumerate(data.columns)
            }
        case np.ndarray():
            return _plain({"": data})
        case dict():
            return _plain({name: np.asarray(value) for name, value in data.items()})
    raise TypeError(f"MLflow returned {type(data)}")


def _column(series: Any) -> tuple[str, list[object]]:  # noqa: ANN401
    if isinstance(series.dtype, pd.StringDtype):
        return "object", series.tolist()
    if series.dtype.kind == "S":
        return "object", series.tolist()
    return str(series.dtype), series.to_numpy().tolist()


def _plain(table: Table) -> dict[str, tuple[str, list[object]]]:
    return {name: (str(array.dtype), array.tolist()) for name, array in table.items()}
