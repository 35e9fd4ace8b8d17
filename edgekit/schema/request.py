"""The body of a scoring request, taken apart. Knows JSON and limits, no signature.

A body is a JSON object with exactly one of `dataframe_split`, `dataframe_records`,
`instances` and `inputs`, and optionally `params`; other keys are ignored, as in MLflow.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edgekit.errors import RequestError
from edgekit.schema.policy import Limits


class Form(StrEnum):
    """How the rows are written."""

    SPLIT = "dataframe_split"
    RECORDS = "dataframe_records"
    INSTANCES = "instances"
    INPUTS = "inputs"


_CHAT_KEYS = ("messages", "prompt", "input")
_CONTAINERS = frozenset({list, dict})
_REQUIRED = (
    "The input must be a JSON dictionary with exactly one of the input fields"
    f" {{{', '.join(repr(form.value) for form in Form)}}}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The rows in JSON values, and the parameters as they came."""

    form: Form
    content: object
    params: object


def read_request(body: bytes, limits: Limits) -> Request:
    """Take a body apart, or raise RequestError. The body is never repeated in messages."""
    table = _decoded(body, limits)
    chat = [key for key in _CHAT_KEYS if key in table]
    if chat:
        raise RequestError(
            f"request: key {chat[0]} selects MLflow's chat format, which a device does not"
            f" serve; one of {', '.join(Form)} is expected"
        )
    forms = [form for form in Form if form.value in table]
    if len(forms) != 1:
        fields = [key for key in table if key in list(Form)]
        raise RequestError(f"{_REQUIRED}. Received dictionary with input fields: {fields}.")
    return Request(form=forms[0], content=table[forms[0]], params=table.get("params"))


def _decoded(body: bytes, limits: Limits) -> dict[str, object]:
    if len(body) > limits.body_bytes:
        raise RequestError(
            f"request: {len(body)} bytes, up to {limits.body_bytes} are allowed"
        )
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as cause:
        raise RequestError(
            "Invalid input. Ensure that input is a valid JSON formatted string."
            f" Error: '{type(cause).__name__}: {cause}'"
        ) from cause
    if isinstance(value, list):
        raise RequestError(f"Invalid input. {_REQUIRED}. Received a list.")
    if not isinstance(value, dict):
        raise RequestError(
            f"Invalid input. {_REQUIRED}. Received unexpected input type '{type(value)}."
        )
    _refuse_deep(value, limits)
    return value


def _refuse_deep(value: object, limits: Limits) -> None:
    level: list[object] = [value]
    for _ in range(limits.nesting + 1):
        inner: list[object] = []
        for one in level:
            parts: Any = one.values() if isinstance(one, dict) else one
            if not _CONTAINERS.isdisjoint(map(type, parts)):
                inner.extend(p for p in parts if isinstance(p, list | dict))
        if not inner:
            return
        level = inner
    raise RequestError(
        f"request: lists and objects more than {limits.nesting} deep; flatter is expected"
    )
