"""See a Conv, Gemm or MatMul as rows of weights that multiply rows of inputs.

Knows which layers of a graph can be seen so, and what their inputs are on samples; not
how a weight is rounded.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.batches import run
from edgekit_converters.passes.constants import drop_dead
from edgekit_converters.passes.walk import copied, interface, nodes, standard

_PADDED = {b"", b"NOTSET", b"VALID"}
_BIAS = 2
_MATRIX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One linear operator: its weight (of `shape`), the value it reads, maybe a bias."""

    weight: str
    shape: tuple[int, ...]
    data: str
    bias: str | None
    transposed: bool
    groups: int = 1
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()

    def rows(self, values: Array) -> Array:
        """Return [groups, outputs of a group, inputs] of a weight of this layer's shape."""
        if self.strides:
            grouped: Array = values.reshape(self.groups, self.shape[0] // self.groups, -1)
            return grouped
        matrix: Array = values.T if self.transposed else values
        return matrix[None]

    def back(self, matrix: Array) -> Array:
        """Return what `rows` was made of."""
        flat: Array = matrix.reshape(self.shape) if self.strides else matrix[0]
        return flat.T if self.transposed else flat

    def inputs(self, data: Array, most: int) -> Array:
        """Return [groups, at most so many samples, inputs] that the rows multiply."""
        if not self.strides:
            return _spread(data.reshape(-1, data.shape[-1]), most)[None]
        kernel = self.shape[2:]
        axes = tuple(range(2, 2 + len(kernel)))
        half = len(self.pads) // 2
        pads = list(zip(self.pads[:half], self.pads[half:], strict=True))
        padded = np.pad(data, [(0, 0), (0, 0), *pads])
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, self.dilations, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=axes)
        skip = tuple(slice(None, None, stride) for stride in self.strides)
        hop = tuple(slice(None, None, dilation) for dilation in self.dilations)
        windows = windows[(slice(None), slice(None), *skip, *hop)]
        # [rows, channels, positions..., kernel...] -> [samples, channels, kernel]
        moved = np.moveaxis(windows, 1, 1 + len(kernel))
        at = _indices(int(np.prod(moved.shape[: 1 + len(kernel)])), most)
        samples = moved[np.unravel_index(at, moved.shape[: 1 + len(kernel)])]
        grouped = samples.reshape(len(at), self.groups, -1)
        result: Array = np.moveaxis(grouped, 0, 1)
        return result


def layers(model: ModelProto) -> list[Layer]:
    """Return the layers of the outermost graph, in its order, whose weight is their own."""
    kept = interface(model.graph)
    constants = {
        entry.name: entry
        for entry in model.graph.initializer
        if entry.data_type == TensorProto.FLOAT and entry.name not in kept
    }
    reads = Counter(name for node in nodes(model.graph) for name in node.input)
    seen = (_layer(node, constants, reads) for node in model.graph.node if standard(node))
    return [layer for layer in seen if layer is not None]


def activations(
    model: ModelProto, names: list[str], feeds: Mapping[str, Array]
) -> dict[str, Array]:
    """Return inner values, [rows, ...] each, as the model computes them on `feeds`."""
    inputs = {value.name for value in model.graph.input}
    wanted = sorted(set(names) - inputs)
    found: dict[str, Array] = {}
    if wanted:
        session = _session(_truncated(model, wanted))
        found = run(session, {name: feeds[name] for name, _, _ in session.inputs})
    return found | {name: feeds[name] for name in names if name in inputs}


def constant_values(model: ModelProto) -> dict[str, Array]:
    """Return every float32 initialiser's values by name."""
    return {
        entry.name: numpy_helper.to_array(entry)
        for entry in model.graph.initializer
        if entry.data_type == TensorProto.FLOAT
    }


def _layer(
    node: NodeProto, constants: Mapping[str, TensorProto], reads: Counter[str]
) -> Layer | None:
    if node.op_type not in {"Conv", "Gemm", "MatMul"} or node.input[1] not in constants:
        return None
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    weight = constants[node.input[1]]
    shape = tuple(weight.dims)
    if reads[weight.name] != 1 or attributes.get("transA", 0):
        return None
    bias = node.input[_BIAS] if len(node.input) > _BIAS else ""
    own = bias in constants and reads[bias] == 1
    own = own and attributes.get("beta", 1.0) == attributes.get("alpha", 1.0) == 1.0
    size = 0 if not own else int(np.prod(constants[bias].dims, dtype=int))
    if node.op_type != "Conv":
        if len(shape) != _MATRIX:
            return None
        flipped = not attributes.get("transB", 0)
        outputs = shape[1] if flipped else shape[0]
        return Layer(
            weight=weight.name,
            shape=shape,
            data=node.input[0],
            bias=bias if size == outputs else None,
            transposed=flipped,
        )
    if attributes.get("auto_pad", b"") not in _PADDED:
        return None
    flat = (1,) * (len(shape) - 2)
    return Layer(
        weight=weight.name,
        shape=shape,
        data=node.input[0],
        bias=bias if size == shape[0] else None,
        transposed=False,
        groups=attributes.get("group", 1),
        strides=tuple(attributes.get("strides", flat)),
        dilations=tuple(attributes.get("dilations", flat)),
        pads=tuple(attributes.get("pads", (0,) * (2 * len(flat)))),
    )


def _truncated(model: ModelProto, names: list[str]) -> ModelProto:
    out = copied(model)
    del out.graph.output[:]
    for name in names:
        out.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        )
    out = drop_dead(out)
    read = {name for node in nodes(out.graph) for name in node.input}
    unread = [value for value in out.graph.input if value.name not in read]
    for value in unread:
        out.graph.input.remove(value)
    return out


def _session(model: ModelProto) -> Session:
    needs = RuntimeNeeds(opsets={}, ir_version=model.ir_version, min_onnxruntime="")
    return Session.load(encode(model), needs)


def _spread(samples: Array, most: int) -> Array:
    return samples[_indices(len(samples), most)]


def _indices(total: int, most: int) -> Array:
    """Return at most so many positions, evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).astype(np.int64))
