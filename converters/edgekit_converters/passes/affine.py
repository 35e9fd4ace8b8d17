"""What a step of a recurrent layer adds up: matrices by what they multiply, and a bias.

A value of the step is followed back through MatMul, Gemm, Add, Split and Slice to a sum
of products with constant matrices; whatever else it meets is a term of its own. So it
does not matter how an exporter cut and joined the gates. Knows no gate.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgekit.errors import ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.passes.walk import standard

_CONSTANT_OPERATORS = {
    *("Cast", "Concat", "Constant", "Div", "Identity", "Mul", "Reshape", "Slice"),
    *("Split", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
}
_ROWS_AND_COLUMNS = 2
_SLICE_INPUTS = 5
_DEEPEST = 50  # sums within sums; a layer's have a few
_IR_VERSION = 8  # which every onnxruntime that runs these operators knows
_END = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The sum of terms (name of a value -> [inputs, outputs] float64) and a bias.

    A matrix of None is the identity: the value itself.
    """

    terms: Mapping[str, Array | None]
    bias: Array = field(default_factory=lambda: np.zeros(1))

    @property
    def width(self) -> int | None:
        """How many outputs there are, where a matrix or the bias tells."""
        widths = [m.shape[1] for m in self.terms.values() if m is not None]
        return widths[0] if widths else None

    def columns(self, start: int, stop: int) -> "Sum":
        """Return some of the outputs of a sum whose terms all have matrices."""
        wide = np.broadcast_to(self.bias, self.width or self.bias.size)
        terms = {n: None if m is None else m[:, start:stop] for n, m in self.terms.items()}
        return Sum(terms=terms, bias=wide[start:stop])


class Step:
    """The body of a Loop: who makes what, what is constant, and what adds up to what."""

    def __init__(
        self, nodes: list[NodeProto], constants: Mapping[str, Array], opset: int
    ) -> None:
        self._makers = {name: node for node in nodes for name in node.output if name}
        self._constants = dict(constants)
        self._opset = opset
        self._depth = 0
        self._sums: dict[str, Sum] = {}  # a value may be read many times over

    def maker(self, name: str) -> NodeProto | None:
        """Return the node that makes a value of the step, looking through copies."""
        node = self._makers.get(self.origin(name))
        return node if node is not None and standard(node) else None

    def origin(self, name: str) -> str:
        """Return the value that a value is a copy of."""
        while (node := self._makers.get(name)) is not None and node.op_type == "Identity":
            name = node.input[0]
        return name

    def constant(self, name: str) -> Array | None:
        """Return a constant, computed from constants if need be."""
        if name in self._constants:
            return self._constants[name]
        node = self._makers.get(name)
        if node is None or not standard(node) or node.op_type not in _CONSTANT_OPERATORS:
            return None
        with self._deeper() as deep:
            if deep:
                return None
            inputs = {n: self.constant(n) for n in node.input if n}
        known = {n: values for n, values in inputs.items() if values is not None}
        if len(known) < len(inputs):
            return None
        self._constants.update(self._computed(node, known))
        return self._constants.get(name)

    def _computed(self, node: NodeProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
        given = [numpy_helper.from_array(values, name) for name, values in inputs.items()]
        made = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        alone = helper.make_model(
            helper.make_graph([node], "one", [], made, given),
            opset_imports=[helper.make_opsetid("", self._opset)],
            ir_version=_IR_VERSION,
        )
        needs = RuntimeNeeds(opsets={}, ir_version=_IR_VERSION, min_onnxruntime="")
        try:
            found = Session.load(alone.SerializeToString(), needs).run({})
        except ProofError:  # it has no kernel for these types
            return {}
        return {name: v for name, v in found.items() if isinstance(v, np.ndarray)}

    def sum(self, name: str) -> Sum:
        """Return what a value adds up, in the simplest case itself."""
        name = self.origin(name)
        if name not in self._sums:
            alone = Sum(terms={name: None})
            with self._deeper() as deep:
                self._sums[name] = alone if deep else self._summed(name) or alone
        return self._sums[name]

    @contextmanager
    def _deeper(self) -> Iterator[bool]:
        """Tell whether a value has been followed back too far to be a layer's."""
        self._depth += 1
        try:
            yield self._depth > _DEEPEST
        finally:
            self._depth -= 1

    def parts(self, name: str, operator: str) -> list[str]:
        """Return the values that such an operator joins to one, joined ones in turn."""
        found: list[str] = []
        seen, open_ones = {name}, [name]
        while open_ones:
            node = self.maker(open_ones[-1])
            last = open_ones.pop()
            if node is None or node.op_type != operator:
                found.append(last)
                continue
            open_ones += [each for each in node.input if each not in seen]
            seen.update(node.input)
        return found

    def _summed(self, name: str) -> Sum | None:
        node = self.maker(name)
        found = None
        if node is not None:
            match node.op_type:
                case "Add":
                    found = self._added(node)
                case "MatMul" | "Gemm":
                    found = self._multiplied(node)
                case "Split" | "Slice":
                    found = self._cut(node, name)
        return found

    def _added(self, node: NodeProto) -> Sum | None:
        first, second = node.input
        for one, other in ((first, second), (second, first)):
            shift = self.constant(other)
            if shift is not None:
                known = self.sum(one)
                return _shifted(known, shift)
        left, right = self.sum(first), self.sum(second)
        if left.terms.keys() & right.terms.keys():
            return None
        return Sum(terms={**left.terms, **right.terms}, bias=left.bias + right.bias)

    def _multiplied(self, node: NodeProto) -> Sum | None:
        matrix = self.constant(node.input[1])
        if matrix is None or matrix.ndim != _ROWS_AND_COLUMNS:
            return None
        bias: Array | None = np.zeros(1)
        if node.op_type == "Gemm":
            given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            plain = all(given.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
            if not plain or given.get("transA", 0):
                return None
            matrix = matrix.T if given.get("transB", 0) else matrix
            if len(node.input) > _ROWS_AND_COLUMNS and node.input[2]:
                bias = self.constant(node.input[2])
        product = Sum(terms={self.origin(node.input[0]): matrix.astype(np.float64)})
        return None if bias is None else _shifted(product, bias)

    def _cut(self, node: NodeProto, name: str) -> Sum | None:
        whole = self.sum(node.input[0])
        width = whole.width
        if width is None or any(m is None for m in whole.terms.values()):
            return None
        bounds = self._split(node, name, width) if node.op_type == "Split" else None
        if node.op_type == "Slice":
            bounds = self._sliced(node, width)
        return None if bounds is None else whole.columns(*bounds)

    def _split(self, node: NodeProto, name: str, width: int) -> tuple[int, int] | None:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if given.get("axis", 0) not in {-1, 1}:
            return None
        number = len(node.output)
        sizes = given.get("split") or [width // number] * number
        if len(node.input) > 1 and node.input[1]:
            listed = self.constant(node.input[1])
            if listed is None:
                return None
            sizes = listed.tolist()
        place = list(node.output).index(name)
        start = sum(sizes[:place])
        return (start, start + sizes[place]) if sum(sizes) == width else None

    def _sliced(self, node: NodeProto, width: int) -> tuple[int, int] | None:
        """Return the columns that a Slice of [rows, columns] takes, all of the rows."""
        found = [self.constant(each) for each in node.input[1:] if each]
        if len(node.input) < _SLICE_INPUTS - 1 or any(values is None for values in found):
            return None
        starts, ends, axes, *steps = (v.tolist() for v in found if v is not None)
        bounds = (0, width)
        for start, end, axis, step in zip(
            starts, ends, axes, steps[0] if steps else [1] * len(axes), strict=True
        ):
            if step != 1 or min(start, end) < 0:
                return None
            if axis in {-1, 1}:
                bounds = (start, min(end, width))
            elif start != 0 or end < _END:
                return None
        return bounds


def _shifted(known: Sum, shift: Array) -> Sum | None:
    if shift.size != max(shift.shape, default=1):  # more than one row
        return None
    return Sum(terms=known.terms, bias=known.bias + shift.reshape(-1).astype(np.float64))


def constants_of(model: ModelProto, skipped: set[str]) -> dict[str, Array]:
    """Return the initialisers of the outermost graph that no caller may replace."""
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name not in skipped
    }
