"""Find what can compute in 8-bit integers, and between which tensors. Changes nothing.

A layer is a Conv, Gemm or MatMul with constant weights. What lies between two layers
passes integers on where onnxruntime has a kernel for it; everything else, recurrent
layers, Softmax and the graph's inputs and outputs included, stays float.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto, helper, shape_inference

from edgekit_converters.flavors.stored.weights import Weight, weights

SAME_RANGE = {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"}
_PASSING_ON = SAME_RANGE | {
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "GlobalAveragePool",
    "LeakyRelu",
    "Mul",
    "Relu",
    "Sigmoid",
}
_OF_TWO = {"Add", "Mul"}
_ACTIVATIONS = {"Relu", "Clip"}
_EPILOGUES = {
    "Conv": _ACTIVATIONS,
    "Gemm": _ACTIVATIONS,
    "MatMul": {"Add"} | _ACTIVATIONS,
    "Add": _ACTIVATIONS,
}
_ONNX = {"", "ai.onnx"}
_PLAIN = {"alpha": 1.0, "beta": 1.0, "transA": 0}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """A weighted operator that may compute in integers: the node of this number.

    Equal to itself alone: its weights are large.
    """

    number: int
    operator: str
    output: str
    weight: Weight


def layers(model: ModelProto) -> tuple[Layer, ...]:
    """Return the layers of the outermost graph, in order, that read known floats."""
    known = {weight.name: weight for weight in weights(model)}
    computed = _float_names(model) - {entry.name for entry in model.graph.initializer}
    return tuple(
        Layer(
            number=number,
            operator=node.op_type,
            output=node.output[0],
            weight=known[node.input[1]],
        )
        for number, node in enumerate(model.graph.node)
        if _is_layer(node, known) and node.input[0] in computed
    )


def _is_layer(node: NodeProto, known: Mapping[str, Weight]) -> bool:
    if node.domain not in _ONNX or len(node.input) < 2 or node.input[1] not in known:  # noqa: PLR2004 - data and weights
        return False
    if node.op_type == "Gemm":
        given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        return all(given.get(name, plain) == plain for name, plain in _PLAIN.items())
    return node.op_type in {"Conv", "MatMul"}


def edges(model: ModelProto, chosen: Sequence[Layer]) -> tuple[str, ...]:
    """Name the tensors to pass on as integers so that the chosen layers compute in them."""
    return _Flow(model).edges({layer.number for layer in chosen})


class _Flow:
    """Who makes and who reads each tensor of the outermost graph."""

    def __init__(self, model: ModelProto) -> None:
        self._nodes = list(model.graph.node)
        self._constants = {entry.name for entry in model.graph.initializer}
        self._floats = _float_names(model) - self._constants
        self._outputs = {value.name for value in model.graph.output}
        self._maker = {
            name: number for number, node in enumerate(self._nodes) for name in node.output
        }
        self._readers: dict[str, list[int]] = {}
        for number, node in enumerate(self._nodes):
            for name in node.input:
                self._readers.setdefault(name, []).append(number)

    def edges(self, chosen: AbstractSet[int]) -> tuple[str, ...]:
        whole = self._passing_on(chosen)
        found: dict[str, None] = {}
        for number in sorted(whole):
            node = self._nodes[number]
            inputs = node.input[:1] if number in chosen else node.input
            found.update(dict.fromkeys(name for name in inputs if not self._inside(name)))
            if not self._inside(node.output[0]) and self._handed_on(number, whole):
                found[node.output[0]] = None
        return tuple(name for name in found if name in self._floats)

    def _passing_on(self, chosen: AbstractSet[int]) -> set[int]:
        """Return the chosen layers and what passes their results on to other ones."""
        whole = set(chosen)
        for number, node in enumerate(self._nodes):
            makers = {self._maker.get(name, -1) for name in node.input}
            if self._may_pass_on(node) and makers & whole:
                whole.add(number)
        for number in sorted(whole - chosen, reverse=True):
            if not self._read_by(number, whole) and not self._ends_layer(number, whole):
                whole.discard(number)
        return whole

    def _may_pass_on(self, node: NodeProto) -> bool:
        if node.op_type not in _PASSING_ON or node.domain not in _ONNX:
            return False
        constant = self._constants.intersection(node.input)
        return node.op_type not in _OF_TWO or not constant or self._is_bias(node)

    def _is_bias(self, node: NodeProto) -> bool:
        return any(self._inside(name) for name in node.input)

    def _ends_layer(self, number: int, whole: AbstractSet[int]) -> bool:
        """Whether it is fused into what can then only answer in integers."""
        first = self._nodes[number].input[0]
        fused = self._inside(first) and self._maker[first] in whole
        return fused and self._only_integers(number)

    def _handed_on(self, number: int, whole: AbstractSet[int]) -> bool:
        """Whether the result leaves in integers; matrix products can answer in floats."""
        return self._only_integers(number) or self._read_by(number, whole)

    def _only_integers(self, number: int) -> bool:
        """Whether what is fused here can answer in integers alone.

        Convolutions, and what is followed by an activation: onnxruntime fuses that into
        the float kernel first, unless integers follow. Answers of the graph stay float.
        """
        node = self._nodes[number]
        for name in node.input:
            if self._inside(name):
                activation = node.op_type in _ACTIVATIONS
                inner = activation and node.output[0] not in self._outputs
                return inner or self._only_integers(self._maker[name])
        return node.op_type not in {"Gemm", "MatMul"}

    def _read_by(self, number: int, whole: AbstractSet[int]) -> bool:
        readers = self._readers.get(self._nodes[number].output[0], [])
        return any(reader in whole for reader in readers)

    def _inside(self, name: str) -> bool:
        """Whether a tensor vanishes when its maker and its only reader are fused."""
        readers = self._readers.get(name, [])
        if len(readers) != 1 or name in self._outputs or name not in self._maker:
            return False
        following, maker = self._nodes[readers[0]], self._nodes[self._maker[name]]
        if following.op_type == "Add" and not self._constants.intersection(following.input):
            return False  # it adds another result, not a bias
        return following.op_type in _EPILOGUES.get(maker.op_type, set())


def _float_names(model: ModelProto) -> set[str]:
    inferred = shape_inference.infer_shapes(model)
    return {
        value.name
        for value in (
            *inferred.graph.input,
            *inferred.graph.value_info,
            *inferred.graph.output,
        )
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
