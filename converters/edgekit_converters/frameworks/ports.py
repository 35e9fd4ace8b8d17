"""Match what a signature names to the tensors that a network takes. Knows no framework."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.errors import ConversionError
from edgekit.manifest import TensorInput
from edgekit_converters.intake.inputs import TEXT, Field, Inputs

_MATRIX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One tensor a network takes: its own name for it, and the graph's (`tensor`)."""

    name: str
    dtype: str  # numpy's name, or "str"
    shape: tuple[int, ...]  # -1 where any length goes
    tensor: str = "input"


def bind_inputs(
    takes: Inputs, ports: Sequence[Port], *, subject: str
) -> tuple[TensorInput, ...]:
    """Return which columns or tensors fill each port, or raise ConversionError."""
    for port in ports:
        _check_batch(port, subject)
    if len(ports) == 1:
        return (_only(takes, ports[0], subject),)
    fields = {field.name: field for field in takes.fields}
    missing = [port.name for port in ports if port.name not in fields]
    if missing or len(fields) != len(ports):
        raise ConversionError(
            f"{subject}: it takes {', '.join(port.name for port in ports)}, the signature"
            f" names {', '.join(takes.names)}; log it with a signature of the same names"
        )
    return tuple(_bound(port, (port.name,)) for port in ports)


def _check_batch(port: Port, subject: str) -> None:
    if not port.shape or port.shape[0] != -1:
        name = port.name or port.tensor
        raise ConversionError(
            f"{subject}: input {name} has the fixed shape {port.shape}; the first"
            " dimension must be open (None) so that any number of rows can be scored"
        )


def _only(takes: Inputs, port: Port, subject: str) -> TensorInput:
    if takes.tensors and len(takes.fields) == 1:
        _check_shape(takes.fields[0], port, subject)
        return _bound(port, takes.names)
    if takes.tensors or len(port.shape) > _MATRIX:
        raise ConversionError(
            f"{subject}: it takes one tensor of shape {port.shape}, the signature names"
            f" {', '.join(takes.names)}; log it with a tensor signature"
        )
    if any(field.numeric != (port.dtype != TEXT) for field in takes.fields):
        raise ConversionError(
            f"{subject}: it takes {port.dtype}, the signature has columns of other types"
        )
    width = port.shape[1] if len(port.shape) == _MATRIX else 1
    if width not in {-1, len(takes.fields)}:
        raise ConversionError(
            f"{subject}: it takes {width} columns, the signature names {len(takes.fields)}"
        )
    return _bound(port, takes.names)


def _check_shape(field: Field, port: Port, subject: str) -> None:
    same = len(field.shape) == len(port.shape) and all(
        -1 in {a, b} or a == b for a, b in zip(field.shape, port.shape, strict=True)
    )
    if not same:
        raise ConversionError(
            f"{subject}: it takes shape {port.shape}, the signature says {field.shape}"
        )


def _bound(port: Port, columns: tuple[str, ...]) -> TensorInput:
    return TensorInput(
        name=port.tensor, dtype=port.dtype, columns=columns, shape=port.shape
    )
