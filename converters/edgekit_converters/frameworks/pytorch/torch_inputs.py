"""What a PyTorch model takes, which the model itself does not tell.

From MLflow's signature, an exported program's own inputs, or else the samples. Knows no
PyTorch.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters import tables
from edgekit_converters.frameworks.network import derived
from edgekit_converters.frameworks.ports import Port
from edgekit_converters.intake import inputs, samples
from edgekit_converters.intake.inputs import TEXT, Field, Inputs
from edgekit_converters.job import Job

_HOW = (
    "log it with a signature and an input example, or pass --samples with all that it"
    " takes and nothing else"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """What a forward function takes: names by position, and how many it cannot do without.

    `ports` are an exported program's own, empty for a module.
    """

    parameters: tuple[str, ...]
    required: int
    ports: tuple[Port, ...] = ()


def takes(job: Job, forward: Forward) -> Inputs:
    """Return what the signature says, the program, or the samples; or ConversionError."""
    signed = inputs.from_signature(job.source.signature)
    if signed is not None:
        return signed
    if forward.ports:
        return derived(forward.ports)
    if job.samples is None:
        raise ConversionError(
            f"{job.source.path.name}: nothing tells what it takes; {_HOW}"
        )
    aside = {job.target, *job.samples.aside}
    return _seen(job.samples.path, aside, forward)


def ports(name: str, forward: Forward, given: Inputs) -> tuple[Port, ...]:
    """Return a port for each tensor that goes in, in the order that forward takes them.

    MLflow makes one float32 matrix of a table's columns, and passes tensors on by place.
    """
    texts = [field.name or "(unnamed)" for field in given.fields if field.dtype == TEXT]
    if texts:
        raise ConversionError(
            f"{name}: {', '.join(texts)}: texts, PyTorch takes numbers; encode them first"
        )
    found = _tensors(given, forward)
    if not forward.required <= len(found) <= len(forward.parameters):
        raise ConversionError(
            f"{name}: it takes {', '.join(forward.parameters)}, the signature names"
            f" {', '.join(port.name or '(unnamed)' for port in found)}; {_HOW}"
        )
    shaped = forward.ports or found
    if any(port.shape[:1] == (1,) for port in shaped):
        raise ConversionError(
            f"{name}: made for one row only, as torch.export does with an example of one;"
            " save it again with an example (and a signature) of two rows or more"
        )
    return tuple(
        Port(name=one.name, dtype=like.dtype, shape=like.shape, tensor=f"input{number}")
        for number, (one, like) in enumerate(zip(found, shaped, strict=True))
    )


def _tensors(given: Inputs, forward: Forward) -> list[Port]:
    if not given.tensors:
        width = len(given.fields)
        return [Port(name="columns", dtype="float32", shape=(-1, width))]
    fields = list(given.fields)
    if not forward.ports and set(given.names) <= set(forward.parameters):
        fields.sort(key=lambda field: forward.parameters.index(field.name))
    return [Port(name=f.name, dtype=_single(f.dtype), shape=f.shape) for f in fields]


def _single(dtype: str) -> str:
    """Return float32 for every floating type: what the graph computes in."""
    return "float32" if np.dtype(dtype).kind == "f" else dtype


def _seen(path: Path, aside: AbstractSet[str | None], forward: Forward) -> Inputs:
    if path.suffix == ".npy":
        return _of_arrays({"": tables.load_npy(path)}, forward)
    if path.suffix == ".npz":
        arrays = tables.load_npz(path)
        return _of_arrays({n: a for n, a in arrays.items() if n not in aside}, forward)
    names = [name for name in samples.names(path) if name not in aside]
    if not names:
        raise ConversionError(f"{path.name}: no columns to take the inputs from; {_HOW}")
    return inputs.columns(names)


def _of_arrays(arrays: Mapping[str, Array], forward: Forward) -> Inputs:
    if len(arrays) == 1:
        (array,) = arrays.values()
        return Inputs(fields=(_field("", array),), tensors=True)
    names: Sequence[str] = [name for name in forward.parameters if name in arrays]
    return Inputs(fields=tuple(_field(n, arrays[n]) for n in names), tensors=True)


def _field(name: str, array: Array) -> Field:
    return Field(name=name, dtype=_single(array.dtype.name), shape=(-1, *array.shape[1:]))
