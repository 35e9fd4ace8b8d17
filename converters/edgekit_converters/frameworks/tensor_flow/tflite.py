"""TensorFlow Lite files, float or int8, to ONNX.

The original's answers are LiteRT's own. Quantised inputs and outputs stay quantised: the
graph takes and gives what the file does.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import tf2onnx
from onnx import ModelProto

from edgekit.errors import ConversionError, EdgekitError
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters import tables
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks import finishing, network
from edgekit_converters.frameworks.network import Exported, Network, short
from edgekit_converters.frameworks.ports import Port
from edgekit_converters.frameworks.tensor_flow.settled import settle
from edgekit_converters.frameworks.tensor_flow.tflite_graph import expand_gelu, open_batch
from edgekit_converters.job import Job
from edgekit_converters.passes.walk import rename
from edgekit_converters.runtimes import PREFERRED_OPSET

_FAILURES = (  # what LiteRT and tf2onnx raise for a file they cannot read or do
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


def convert(job: Job) -> Extraction:
    """Ask LiteRT about the samples, and convert the file.

    ConversionError when it is damaged or has no faithful ONNX form.
    """
    path = job.source.path
    interpreter = _load(path)
    ends = _ends(interpreter)
    ports = tuple(_port(*end, number) for number, end in enumerate(ends.inputs.items()))
    if job.samples is not None:
        _check_quantised(path.name, job.samples.path, ends)
    return network.extract(
        job,
        Network(
            name=path.name,
            ports=ports,
            framework="tflite",
            ask=partial(_ask, path.name, interpreter, ends),
            export=partial(_export, path, ends),
            tools=("ai-edge-litert", "tensorflow", "tensorflow-cpu", "tf2onnx"),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """LiteRT's details of each input and output, by the names that a caller uses."""

    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]

    @property
    def any_rows(self) -> bool:
        """Whether the file itself takes any number of rows."""
        return all(details["shape_signature"][0] == -1 for details in self.inputs.values())


def _load(path: Path) -> Any:  # noqa: ANN401 - LiteRT has no types
    """Return an interpreter of LiteRT's, or else the one inside TensorFlow."""
    try:
        litert = import_module("ai_edge_litert.interpreter")
    except ModuleNotFoundError:
        litert = import_module("tensorflow").lite
    try:
        interpreter = litert.Interpreter(model_content=path.read_bytes(), num_threads=1)
        interpreter.allocate_tensors()
    except _FAILURES as error:
        raise ConversionError(
            f"{path.name}: LiteRT cannot load it: {short(error)}. A whole file of built-in"
            " operators is expected"
        ) from error
    return interpreter


def _ends(interpreter: Any) -> _Ends:  # noqa: ANN401 - LiteRT has no types
    """Return the names of the only signature; of the tensors where there is none."""
    named = interpreter.get_signature_list()
    if len(named) == 1:
        (signature,) = named
        runner = interpreter.get_signature_runner(signature)
        return _Ends(inputs=runner.get_input_details(), outputs=runner.get_output_details())
    return _Ends(
        inputs={details["name"]: details for details in interpreter.get_input_details()},
        outputs={details["name"]: details for details in interpreter.get_output_details()},
    )


def _port(name: str, details: Mapping[str, Any], number: int) -> Port:
    """Return an input's port; that a file of one row takes any number is proven later."""
    shape = tuple(int(size) for size in details["shape_signature"])
    return Port(
        name=name,
        dtype=np.dtype(details["dtype"]).name,
        shape=(-1, *shape[1:]) if shape[:1] == (1,) else shape,
        tensor=f"input{number}",
    )


def _check_quantised(subject: str, path: Path, ends: _Ends) -> None:
    """Refuse fractions for an input of small integers, which would be cut off silently."""
    if path.suffix not in {".npy", ".npz"}:
        return  # columns of other files are cast with care
    given = tables.load_npz(path) if path.suffix == ".npz" else {"": tables.load_npy(path)}
    lone = next(iter(given.values())) if len(given) == 1 else None
    for name, details in ends.inputs.items():
        dtype, (scale, zero) = np.dtype(details["dtype"]), details["quantization"]
        array = given.get(name, lone)
        if scale and dtype.kind in "iu" and array is not None and array.dtype.kind == "f":
            raise ConversionError(
                f"{subject}: {name} takes {dtype.name}, the samples are {array.dtype};"
                f" quantise them as the device will: round(x / {scale:.9g}) + {zero}"
            )


def _ask(
    name: str,
    interpreter: Any,  # noqa: ANN401 - LiteRT has no types
    ends: _Ends,
    arrays: Sequence[Array],
) -> dict[str, Array]:
    """Answer all rows at once where the file takes them, else one after the other."""
    number = len(arrays[0])
    at_once = number if ends.any_rows else 1
    try:
        parts = [
            _invoke(interpreter, ends, [a[start : start + at_once] for a in arrays])
            for start in range(0, number, at_once)
        ]
    except _FAILURES as error:
        raise ConversionError(
            f"{name}: the original itself fails on the samples: {short(error)}"
        ) from error
    joined = [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
    names = [""] if len(joined) == 1 else list(ends.outputs)
    return dict(zip(names, joined, strict=True))


def _invoke(interpreter: Any, ends: _Ends, arrays: Sequence[Array]) -> list[Array]:  # noqa: ANN401
    for details, array in zip(ends.inputs.values(), arrays, strict=True):
        if ends.any_rows:
            interpreter.resize_tensor_input(details["index"], array.shape)
    interpreter.allocate_tensors()
    for details, array in zip(ends.inputs.values(), arrays, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in ends.outputs.values()]


def _export(path: Path, ends: _Ends, opset: int, given: Sequence[Array]) -> Exported:
    opset = min(PREFERRED_OPSET, opset)
    try:
        graph, _ = tf2onnx.convert.from_tflite(
            str(path),
            input_names=[details["name"] for details in ends.inputs.values()],
            output_names=[details["name"] for details in ends.outputs.values()],
            opset=opset,
        )
    except _FAILURES as error:
        raise ConversionError(
            f"{path.name}: tf2onnx cannot convert it: {short(error)}. Convert the Keras"
            " model or SavedModel that it was made from"
        ) from error
    rename(
        graph.graph,
        {d["name"]: f"input{number}" for number, d in enumerate(ends.inputs.values())},
    )
    settle(graph)
    expand_gelu(graph)
    if not ends.any_rows:
        open_batch(graph)
        _prove_open(path.name, graph, given)
    return Exported(model=finishing.raise_opset(graph, opset))


def _prove_open(name: str, graph: ModelProto, given: Sequence[Array]) -> None:
    """Run a graph that was made for one row on two; what it answers is compared later."""
    two = {f"input{n}": np.resize(a, (2, *a.shape[1:])) for n, a in enumerate(given)}
    try:
        Session.load(graph.SerializeToString(), finishing.needs(graph)).run(two)
    except EdgekitError as error:
        raise ConversionError(
            f"{name}: it was made for exactly one row, and its operators do not work with"
            " more. Make it again from a model whose first dimension is open"
            " (keras.Input without batch_size)"
        ) from error
