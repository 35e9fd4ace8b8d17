"""Estimate the memory a graph takes in onnxruntime, from the graph alone. Pure.

Follows what the runtime does. Loading: constants are read, whatever depends on constants
only is computed once (so weights stored as int8 or float16 unfold to float32), then some
kernels keep a packed copy. Running: values live from their producer to their last reader,
for one row, elementwise operators in place. Trees become structures of their own.

The constants below are measured with onnxruntime 1.31 on x86-64 (`python -m
benchmarks.memory` shows how far off each model is). Convolutions are reordered there at
load, which Arm does not do: on Arm the estimate of a convolutional network is too high.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, inliner

from edgekit_converters.needs.sizes import Shape, tensor_bytes, value_bytes
from edgekit_converters.passes.walk import graphs, nodes

FLOOR_BYTES = 48_900_000  # a process with onnxruntime and numpy, and no session
SESSION_BYTES = 9_700_000  # the first session and its first answer, of a small graph
CONVOLUTION_BYTES = 800_000  # the first convolution's code and working space
NODE_BYTES = 3_000
CONSTANT_BYTES = 2_000
TREE_NODE_BYTES = 365  # of a TreeEnsembleClassifier or -Regressor, leaves too
TREE_VOTE_BYTES = 150  # of the same: a target of a leaf
TREE_COPIES = 2.9  # of further attributes of the same: file, graph and kernel
PACKED_SPLIT_BYTES = 575  # of a TreeEnsemble, with the leaves below it
LINEAR_COPIES = 3.0  # of a linear or scaling operator's attributes
GIVEN_BACK_BYTES = 256 * 2**10  # a weight of as much is, as soon as it is packed
REORDERED = 2.0  # convolutions' weights: as they came, and in blocks
REORDERING = 3.0  # times the largest of them, while it is reordered

_RANDOM = {"RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"}
_UNFOLDED = {"DequantizeLinear", "QuantizeLinear", "If", "Loop", "Scan"} | _RANDOM
_FOLD_QDQ = "session.disable_quant_qdq"
_PACKED_INPUTS = {"Gemm": (1,), "MatMul": (1,), "LSTM": (1, 2), "GRU": (1, 2)}
_TREES = {"TreeEnsembleClassifier", "TreeEnsembleRegressor"}
_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
_IN_PLACE = _VIEWS | {
    *("Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Clip", "Div", "Elu", "Erf"),
    *("Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mul"),
    *("Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softmax"),
    *("Softplus", "Sqrt", "Sub", "Tanh"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """What a process takes at its peak, and of what that is made. All in bytes.

    `loading` is the most that is held while the session is made, `weights` and `trees`
    what stays, `activations` the most that is live while one row is answered.
    """

    floor: int
    session: int
    loading: int
    weights: int
    trees: int
    activations: int

    @property
    def load_peak(self) -> int:
        """The peak until the session is made."""
        return self.floor + self.session + self.loading + self.trees

    @property
    def peak(self) -> int:
        """The peak until a row is answered.

        The allocator keeps what loading gave back, so activations come on top of it.
        """
        return self.load_peak + self.activations


def estimate(
    model: ModelProto,
    *,
    session_options: Mapping[str, str] | None = None,
    shapes: Mapping[str, Shape] | None = None,
    floor_bytes: int = FLOOR_BYTES,
) -> MemoryEstimate:
    """Estimate the peak; see `value_bytes` for `shapes`, of the inputs for one row."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    sizes = value_bytes(model, shapes)
    unfolded = _UNFOLDED
    if (session_options or {}).get(_FOLD_QDQ) == "1":
        unfolded = _UNFOLDED - {"DequantizeLinear"}
    constants = _Constants(model.graph, sizes, unfolded)
    every = list(nodes(model.graph))
    tensors = sum(len(graph.initializer) for graph in graphs(model.graph))
    return MemoryEstimate(
        floor=floor_bytes,
        session=SESSION_BYTES
        + NODE_BYTES * len(every)
        + CONSTANT_BYTES * tensors
        + CONVOLUTION_BYTES * any(node.op_type == "Conv" for node in every),
        loading=constants.loading(),
        weights=constants.kept(),
        trees=sum(_tree_bytes(node) for node in every),
        activations=_activations(model.graph, sizes, set(constants.sizes)),
    )


class _Constants:
    """The constants of a graph: as stored, as unfolded, and as kernels keep them."""

    def __init__(
        self, graph: GraphProto, sizes: Mapping[str, int], unfolded: Iterable[str]
    ) -> None:
        self.stored: dict[str, int] = {
            tensor.name: tensor_bytes(tensor)
            for inner in graphs(graph)
            for tensor in inner.initializer
        }
        self.sizes = dict(self.stored)
        self.working = 0  # inputs, computed too, of the most demanding node of these
        self.running: list[NodeProto] = []
        for node in nodes(graph):
            inputs = [name for name in node.input if name]
            folds = node.op_type not in unfolded and all(n in self.sizes for n in inputs)
            if not folds:
                self.running.append(node)
                continue
            copied = [self.sizes[name] for name in inputs if name not in self.stored]
            self.working = max(self.working, sum(copied))
            for name in node.output:
                self.sizes[name] = _constant_node_bytes(node) or sizes.get(name, 0)
        self._read = {name for node in self.running for name in node.input}

    def kept(self) -> int:
        """Return the bytes of the constants that nodes read when a row is answered."""
        return sum(size for name, size in self.sizes.items() if name in self._read)

    def loading(self) -> int:
        """Return the most that is held at once while the session is made."""
        kept = self.kept()
        left = [size for name, size in self.stored.items() if name not in self._read]
        once_more = _one_by_one(left)  # in the file and out of it
        folding = sum(self.sizes.values()) + self.working + once_more
        reading = kept + max(self.sizes.values(), default=0)
        remaining = sum(size for size in left if size < GIVEN_BACK_BYTES)
        packing = kept + remaining + self._packed() + self._reordered()
        return max(folding, reading, packing)

    def _packed(self) -> int:
        """Return the bytes of the copies that kernels make in an order of their own."""
        names = {
            str(node.input[place])
            for node in self.running
            for place in _PACKED_INPUTS.get(node.op_type, ())
            if place < len(node.input)
        }
        return _one_by_one([self.sizes.get(name, 0) for name in names])

    def _reordered(self) -> int:
        names = {str(node.input[1]) for node in self.running if node.op_type == "Conv"}
        sizes = [self.sizes.get(name, 0) for name in names]
        small = sum(size for size in sizes if size < GIVEN_BACK_BYTES)
        return int((REORDERED - 1) * small + REORDERING * max(sizes, default=0))


def _one_by_one(sizes: Sequence[int]) -> int:
    """Return what copies take, of which the large ones are given back one by one."""
    small = sum(size for size in sizes if size < GIVEN_BACK_BYTES)
    return small + max((size for size in sizes if size >= GIVEN_BACK_BYTES), default=0)


def _constant_node_bytes(node: NodeProto) -> int:
    if node.op_type != "Constant":
        return 0
    stored = [a.t for a in node.attribute if a.type == AttributeProto.TENSOR]
    return sum(map(tensor_bytes, stored))


def _tree_bytes(node: NodeProto) -> int:
    """Return what an operator of ai.onnx.ml makes of its attributes."""
    if node.domain != "ai.onnx.ml":
        return 0
    lengths = {a.name: _length(a) for a in node.attribute}
    if node.op_type in _TREES:
        number = lengths.get("nodes_modes", 0)
        votes = lengths.get("class_weights", 0) + lengths.get("target_weights", 0)
        further = 4 * lengths.get("nodes_hitrates", 0)
        further += 8 * lengths.get("nodes_missing_value_tracks_true", 0)
        return round(
            TREE_NODE_BYTES * number + TREE_VOTE_BYTES * votes + TREE_COPIES * further
        )
    if node.op_type == "TreeEnsemble":
        return PACKED_SPLIT_BYTES * lengths.get("nodes_featureids", 0)
    return round(LINEAR_COPIES * sum(4 * length for length in lengths.values()))


def _length(attribute: AttributeProto) -> int:
    return len(attribute.ints) + len(attribute.floats) + len(attribute.strings)


def _activations(graph: GraphProto, sizes: Mapping[str, int], constants: set[str]) -> int:
    """Return the most bytes of values that are live at once, nested graphs included."""
    last = _last_readers(graph)
    live: dict[str, int] = {
        value.name: sizes.get(value.name, 0)
        for value in graph.input
        if value.name not in constants
    }
    most = held = sum(live.values())
    for number, node in enumerate(graph.node):
        if all(name in constants for name in node.output):
            continue
        ending = {n for n in node.input if n in live and last.get(n) == number}
        taken = _taken_over(node, ending, live, sizes)
        inner = sum(_activations(g, sizes, constants) for g in _bodies(node))
        for name in node.output:
            held += sizes.get(name, 0) - live.get(name, 0)
            live[name] = sizes.get(name, 0)
        most = max(most, held - taken + inner)
        held -= sum(live.pop(name) for name in ending)
    return most


def _taken_over(
    node: NodeProto, ending: set[str], live: Mapping[str, int], sizes: Mapping[str, int]
) -> int:
    """Return the bytes of an input whose place the output takes."""
    if node.op_type not in _IN_PLACE:
        return 0
    wanted = sizes.get(node.output[0], 0)
    return wanted if any(live[name] == wanted for name in ending) else 0


def _last_readers(graph: GraphProto) -> dict[str, int]:
    last: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        for inner in _bodies(node):
            for name in {n for one in nodes(inner) for n in one.input}:
                last[name] = number
        for name in node.input:
            last[name] = number
    for value in (*graph.input, *graph.output):
        last[value.name] = len(graph.node)  # the caller holds them all the while
    return last


def _bodies(node: NodeProto) -> list[GraphProto]:
    return [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
