"""A model signature compiled once, enforced often. Knows no model and no transport."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgekit.manifest import Signature
from edgekit.schema import arrays, delimited, frame, params
from edgekit.schema.arrays import Data
from edgekit.schema.columns import Admitted, ColumnSchema
from edgekit.schema.datatypes import ColumnType
from edgekit.schema.frame import Converted, Frame, Label
from edgekit.schema.outputs import OutputSchema
from edgekit.schema.params import ParamSpec, read_params
from edgekit.schema.policy import Enforcement, Limits
from edgekit.schema.request import Form, Request, read_request
from edgekit.schema.spec import ColumnSpec, TensorSpec, read_specs
from edgekit.schema.tensors import TensorSchema

Table = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What one request holds for the model, and what was ignored in words."""

    table: Table
    params: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _Inputs(Protocol):
    """What column and tensor signatures have in common."""

    def wanted(self, labels: Sequence[Label]) -> Sequence[Label]: ...
    def cast(self, frame: Frame) -> Frame: ...
    def check(self, data: Data, *, exact: bool) -> Admitted: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The inputs, parameters and outputs of one model.

    `inputs` is None where the model was logged without a signature: nothing is checked.
    `outputs` is None where the signature promises none.
    """

    inputs: tuple[ColumnSpec, ...] | tuple[TensorSpec, ...] | None
    params: tuple[ParamSpec, ...] | None
    outputs: OutputSchema | None
    limits: Limits
    _enforcer: _Inputs | None

    @classmethod
    def from_signature(cls, signature: Signature, limits: Limits | None = None) -> Self:
        """Compile, or raise SchemaError for what a device cannot enforce."""
        inputs = None if signature.inputs is None else read_specs(signature.inputs)
        specs = None if signature.params is None else read_params(signature.params)
        return cls(
            inputs=inputs,
            params=specs,
            outputs=(
                OutputSchema(read_specs(signature.outputs)) if signature.outputs else None
            ),
            limits=limits or Limits(),
            _enforcer=None if inputs is None else _enforcer(inputs),
        )

    def enforce(self, table: Table, *, mode: Enforcement) -> Table:
        """Return the table in the signature's order and types, or raise SchemaError.

        A table of the one name "" is a bare array. The verdict is that of MLflow's
        python_function; strict adds that nothing may be altered.
        """
        if self._enforcer is None or mode is Enforcement.OFF:
            return table
        exact = mode is Enforcement.STRICT
        if self._is_nested and list(table) != [""]:
            return self._enforcer.check(frame.from_table(table), exact=exact).table
        given = {name: Converted(value=a, origin=a) for name, a in table.items()}
        data: Data = given[""] if list(given) == [""] else given
        return self._enforcer.check(data, exact=exact).table

    def parse(self, body: bytes, *, mode: Enforcement) -> Payload:
        """Read a scoring request in JSON, or raise SchemaError.

        It is a RequestError where the request cannot be read at all. The verdict is
        that of MLflow's scoring server; strict adds that nothing may be altered on the
        way.
        """
        request = read_request(body, self.limits)
        if mode is Enforcement.OFF:
            given = request.params if isinstance(request.params, dict) else {}
            return Payload(table=self._unchecked(request), params=given)
        admitted = self._admitted(request, exact=mode is Enforcement.STRICT)
        accepted = params.accept(self.params, request.params)
        return Payload(
            table=admitted.table,
            params=accepted.params,
            notes=admitted.notes + accepted.notes,
        )

    def parse_csv(self, body: bytes, *, mode: Enforcement) -> Payload:
        """Read a scoring request in comma-separated text, or raise SchemaError.

        As in MLflow it has no parameters but their defaults, and fits columns of scalars.
        """
        labels = _all if self._enforcer is None else self._enforcer.wanted
        if self._enforcer is None or mode is Enforcement.OFF:
            return Payload(table=_values(delimited.from_text(body, {}, _all, self.limits)))
        table = delimited.from_text(body, self._csv_types(), labels, self.limits)
        admitted = self._enforcer.check(table, exact=mode is Enforcement.STRICT)
        accepted = params.accept(self.params, None)
        return Payload(table=admitted.table, params=accepted.params, notes=admitted.notes)

    def _csv_types(self) -> dict[Label, ColumnType]:
        types: dict[Label, ColumnType] = {}
        for position, spec in enumerate(self._specs):
            if isinstance(spec, TensorSpec):
                raise delimited.unusable(
                    "TensorSpec only supports numpy types, use numpy_types() instead"
                )
            if not isinstance(spec.type, ColumnType):
                raise delimited.unusable(
                    "Failed to get pandas types as some of the inputs types are not"
                    " DataType."
                )
            types[position if spec.name is None else spec.name] = spec.type
        return types

    @property
    def has_columns(self) -> bool:
        """Whether MLflow hands the model a data frame, as it does for columns."""
        return any(isinstance(spec, ColumnSpec) for spec in self._specs)

    @property
    def _specs(self) -> Sequence[ColumnSpec | TensorSpec]:
        return self.inputs or ()

    @property
    def _is_nested(self) -> bool:
        """Whether a column holds lists or objects: a table is then a data frame."""
        return any(
            isinstance(spec, ColumnSpec) and not isinstance(spec.type, ColumnType)
            for spec in self._specs
        )

    def _admitted(self, request: Request, *, exact: bool) -> Admitted:
        if self._enforcer is None or self.inputs is None:
            return Admitted(table=self._unchecked(request))
        data: Data
        if any(isinstance(s, TensorSpec) and s.dtype.kind in "US" for s in self.inputs):
            arrays.refuse_wide_text(request.content, self.limits)
        match request.form:
            case Form.SPLIT:
                read = frame.from_split(request.content, self._enforcer.wanted, self.limits)
                data = self._enforcer.cast(read)
            case Form.RECORDS:
                read = frame.from_records(
                    request.content, self._enforcer.wanted, self.limits
                )
                data = self._enforcer.cast(read)
            case Form.INSTANCES:
                data = arrays.from_instances(request.content, self.inputs, self.limits)
            case Form.INPUTS:
                data = arrays.from_inputs(request.content, self.inputs, self.limits)
        return self._enforcer.check(data, exact=exact)

    def _unchecked(self, request: Request) -> Table:
        match request.form:
            case Form.SPLIT:
                read = frame.from_split(request.content, _all, self.limits)
                return _values(read)
            case Form.RECORDS:
                read = frame.from_records(request.content, _all, self.limits)
                return _values(read)
            case Form.INPUTS if not isinstance(request.content, list):
                return _values(arrays.from_inputs(request.content, (), self.limits))
            case Form.INSTANCES | Form.INPUTS:
                return _values(arrays.from_instances(request.content, (), self.limits))


def _enforcer(inputs: tuple[ColumnSpec, ...] | tuple[TensorSpec, ...]) -> _Inputs:
    tensors = tuple(spec for spec in inputs if isinstance(spec, TensorSpec))
    if tensors:
        return TensorSchema(tensors)
    return ColumnSchema(tuple(spec for spec in inputs if isinstance(spec, ColumnSpec)))


def _all(labels: Sequence[Label]) -> Sequence[Label]:
    return labels


def _values(data: Data) -> Table:
    match data:
        case Frame():
            return {str(label): column.values for label, column in data.columns.items()}
        case Converted():
            return {"": np.asarray(data.value)}
        case Mapping():
            return {name: np.asarray(one.value) for name, one in data.items()}
        case _:
            return {}  # an empty list of objects
