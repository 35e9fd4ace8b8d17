"""PyTorch modules and programs to ONNX graphs, of any number of rows.

Through the dynamo exporter; where that fails, through the TorchScript one, unless tracing
warns that it would freeze a decision. See docs/adr/0010-pytorch-through-dynamo.md.
"""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, inliner
from torch.jit import ScriptModule, TracerWarning

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.frameworks.network import Exported, short
from edgekit_converters.frameworks.ports import Port
from edgekit_converters.frameworks.pytorch.torch_native import FAILURES, Original, as_tensor

_OPSET = 18  # what the dynamo exporter's operators are written in
_SCRIPT_OPSET = 17  # what the TorchScript exporter is best tested with
_FEWEST_ROWS = 2  # torch.export takes a size of one for a constant
_NEXT = (
    "Change the code it names (decide by torch.where, not by if), or log an ONNX model with"
    " mlflow.onnx"
)


class _UnfitError(RuntimeError):
    """A graph that was made, but is not good enough."""


def to_onnx(
    name: str, original: Original, ports: Sequence[Port], opset: int, rows: Sequence[Array]
) -> Exported:
    """Return the graph, captured on some rows; ConversionError where there is none."""
    example = tuple(as_tensor(_several(array), torch.float32) for array in rows)
    if isinstance(original.module, ScriptModule):
        return Exported(model=_by_torchscript(name, original, ports, example, opset))
    try:
        program = original.program or _program(original, ports, example)
        return Exported(model=_by_dynamo(program, ports, min(opset, _OPSET)))
    except FAILURES as error:
        if original.program is not None:
            raise ConversionError(
                f"{name}: PyTorch cannot export it to ONNX: {short(error)}. {_NEXT}"
            ) from error
        why = short(error)
    graph = _by_torchscript(name, original, ports, example, opset, before=why)
    note = f"{name}: converted by PyTorch's older exporter; the newer one fails: {why}"
    return Exported(model=graph, notes=(note,))


def _several(array: Array) -> Array:
    return np.repeat(array, _FEWEST_ROWS, axis=0) if len(array) < _FEWEST_ROWS else array


def _program(original: Original, ports: Sequence[Port], example: tuple[Any, ...]) -> Any:  # noqa: ANN401 - PyTorch has no types
    """Have the module captured with every size that the ports leave open left open."""
    auto = torch.export.Dim.AUTO
    sizes = tuple(dict.fromkeys(_open_axes(port), auto) for port in ports)
    program = torch.export.export(
        original.module.float(), example, dynamic_shapes=sizes, strict=False
    )
    for port, found in zip(ports, program_ports(program), strict=True):
        fixed = [axis for axis in _open_axes(port) if found.shape[axis] >= 0]
        if fixed:
            raise _UnfitError(
                f"its code fixes axis {fixed[0]} of {port.name or 'its input'} to"
                f" {found.shape[fixed[0]]}"
            )
    return program


def _open_axes(port: Port) -> list[int]:
    return [axis for axis, size in enumerate(port.shape) if size < 0]


def program_ports(program: Any) -> tuple[Port, ...]:  # noqa: ANN401 - PyTorch has no types
    """Return what an exported program takes, named as its graph names them."""
    values = {n.name: n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"}
    return tuple(
        Port(
            name=name,
            dtype=str(values[name].dtype).removeprefix("torch."),
            shape=tuple(n if isinstance(n, int) else -1 for n in values[name].shape),
        )
        for name in program.graph_signature.user_inputs
    )


def _by_dynamo(program: Any, ports: Sequence[Port], opset: int) -> ModelProto:  # noqa: ANN401
    changed = {
        **program.graph_signature.buffers_to_mutate,
        **program.graph_signature.user_inputs_to_mutate,
    }
    if changed:
        raise _UnfitError(
            f"answering changes {', '.join(changed.values())}; call model.eval() before it"
            " is saved"
        )
    outputs = len(program.graph_signature.user_outputs)
    exported = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=opset,
        input_names=[port.tensor for port in ports],
        output_names=[f"output{n:04}" for n in range(outputs)],
        external_data=False,
        verbose=False,
    )
    graph: ModelProto = exported.model_proto
    return _checked(graph, opset)


def _by_torchscript(  # noqa: PLR0913 - `before` only says why we are here
    name: str,
    original: Original,
    ports: Sequence[Port],
    example: tuple[Any, ...],
    opset: int,
    *,
    before: str = "",
) -> ModelProto:
    try:
        return _traced(original, ports, example, min(opset, _SCRIPT_OPSET))
    except FAILURES as error:
        first = f"{before}; by its older exporter: " if before else ""
        raise ConversionError(
            f"{name}: PyTorch cannot export it to ONNX: {first}{short(error)}. {_NEXT}"
        ) from error


def _traced(
    original: Original, ports: Sequence[Port], example: tuple[Any, ...], opset: int
) -> ModelProto:
    stream = io.BytesIO()
    tensors = [port.tensor for port in ports]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", TracerWarning)
        torch.onnx.export(
            original.module.float(),
            example,
            stream,
            dynamo=False,
            opset_version=opset,
            input_names=tensors,
            dynamic_axes=dict(zip(tensors, map(_open_axes, ports), strict=True)),
        )
    frozen = [str(w.message) for w in told if issubclass(w.category, TracerWarning)]
    if frozen:
        raise _UnfitError(f"a decision of its code would be frozen: {frozen[0]}")
    return _checked(onnx.load_model_from_string(stream.getvalue()), opset)


def _checked(graph: ModelProto, opset: int) -> ModelProto:
    """Return the graph in operators alone, or say that it came out too new."""
    for declared in graph.opset_import:
        if declared.domain == "" and declared.version > opset:
            raise _UnfitError(f"it needs opset {declared.version}, the boards run {opset}")
    inlined: ModelProto = (
        inliner.inline_local_functions(graph) if graph.functions else graph
    )
    return inlined
