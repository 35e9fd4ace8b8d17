"""Tell whether a Loop takes exactly one step for each entry of a value's first dimension.

Lengths are compared as numbers where they are known, and else as dimensions of the value
they were read from. Knows no layer.
"""

from collections.abc import Collection, Sequence

from onnx import ModelProto, NodeProto

from edgekit_converters.passes.affine import Step, constants_of
from edgekit_converters.passes.walk import interface, opset_of, types

_UNCHANGED = {"Cast", "Squeeze", "Unsqueeze", "Reshape", "Identity"}
_Length = int | tuple[str, int]  # a number, or a dimension of a value


class Lengths:
    """The outermost graph, as far as lengths go."""

    def __init__(self, model: ModelProto) -> None:
        constants = constants_of(model, interface(model.graph))
        self._graph = Step(list(model.graph.node), constants, opset_of(model))
        self._types = types(model)

    def rank(self, name: str) -> int:
        """Return the number of a value's dimensions, 0 where it is unknown."""
        found = self._types.get(name)
        return 0 if found is None else len(found.shape.dim)

    def dimension(self, name: str, axis: int) -> _Length:
        """Return how long a value is along an axis."""
        name = self._graph.origin(name)
        if axis < self.rank(name):
            dimension = self._types[name].shape.dim[axis]
            if dimension.HasField("dim_value"):
                return int(dimension.dim_value)
        node = self._graph.maker(name)
        if node is not None and node.op_type == "Transpose" and node.attribute:
            return self.dimension(node.input[0], int(node.attribute[0].ints[axis]))
        if node is not None and node.op_type == "ReverseSequence":
            return self.dimension(node.input[0], axis)
        return name, axis

    def length(self, name: str) -> _Length | None:
        """Return the length that a value of one number holds."""
        constant = self._graph.constant(name)
        if constant is not None:
            return int(constant.reshape(-1)[0]) if constant.size == 1 else None
        node = self._graph.maker(name)
        if node is None:
            return None
        if node.op_type in _UNCHANGED:
            return self.length(node.input[0])
        if node.op_type in {"Slice", "Gather"}:
            return self._picked(node)
        return None

    def counts(self, step: Step, name: str, made: str, first: str) -> bool:
        """Whether a carried value counts the steps from zero."""
        if self.length(first) != 0:
            return False
        node = step.maker(made)
        return node is not None and node.op_type == "Add" and _plus_one(step, node, [name])

    def ends(
        self, step: Step, condition: str, data: str, counters: Collection[str]
    ) -> bool:
        """Whether a step's condition holds until the last step at least."""
        parts = step.parts(condition, "And")
        return all(self._ends(step, part, data, counters) for part in parts)

    def _ends(
        self, step: Step, condition: str, data: str, counters: Collection[str]
    ) -> bool:
        constant = step.constant(condition)
        if constant is not None:
            return bool(constant.all())
        node = step.maker(condition)
        if node is None or node.op_type != "Less":
            return False
        count, limit = (_uncast(step, name) for name in node.input)
        adding = step.maker(count)
        counted = count in counters or (
            adding is not None
            and adding.op_type == "Add"
            and _plus_one(step, adding, counters)
        )
        known = step.constant(limit)
        length = self.length(limit) if known is None else int(known.reshape(-1)[0])
        return counted and length == self.dimension(data, 0)

    def is_trips(self, loop: Sequence[str], data: str) -> bool:
        """Whether a Loop's trip count and first condition mean one step an entry."""
        wanted = self.dimension(data, 0)
        parts = self._graph.parts(loop[1], "And") if loop[1] else []
        starts = all(self._starts(part, wanted) for part in parts)
        return self.length(loop[0]) == wanted and starts

    def is_whole(self, name: str, data: str, axis: int) -> bool:
        """Whether a value holds a dimension's length for each of its entries."""
        constant = self._graph.constant(name)
        wanted = self.dimension(data, axis)
        if constant is not None:
            return bool((constant == wanted).all())
        node = self._graph.maker(name)
        if node is not None and node.op_type in {"Expand", "Cast", "Tile"}:
            return self.is_whole(node.input[0], data, axis)
        return self.length(name) == wanted

    def _starts(self, condition: str, wanted: _Length) -> bool:
        constant = self._graph.constant(condition)
        if constant is not None:
            return bool(constant.all())
        node = self._graph.maker(condition)
        if node is None or node.op_type != "Less":
            return False
        return self.length(node.input[0]) == 0 and self.length(node.input[1]) == wanted

    def _picked(self, node: NodeProto) -> _Length | None:
        """Return the dimension that a Slice or Gather takes out of a shape."""
        place = self.length(node.input[1])
        shape = self._graph.maker(_uncast(self._graph, node.input[0]))
        if shape is None or shape.op_type != "Shape" or shape.attribute:
            return None
        ended = node.op_type == "Gather" or (
            isinstance(place, int) and self.length(node.input[2]) == place + 1
        )
        if not isinstance(place, int) or place < 0 or not ended:
            return None
        return self.dimension(shape.input[0], place)


def _plus_one(step: Step, node: NodeProto, counters: Collection[str]) -> bool:
    first, second = node.input
    for one, other in ((first, second), (second, first)):
        added = step.constant(other)
        if added is not None and added.size == 1 and int(added.reshape(-1)[0]) == 1:
            return _uncast(step, one) in counters
    return False


def _uncast(step: Step, name: str) -> str:
    name = step.origin(name)
    while (node := step.maker(name)) is not None and node.op_type == "Cast":
        name = step.origin(node.input[0])
    return name
