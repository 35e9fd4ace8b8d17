"""The constants and nodes that unfold weights, as they are added. Chooses none."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, helper

from edgekit.table import Array
from edgekit_converters.flavors.stored.compensation import Codes
from edgekit_converters.flavors.stored.formats import NIBBLE_BITS
from edgekit_converters.flavors.stored.weights import tensor

PREFIX = "stored"
_SPLIT_INPUT, _SPLIT_COUNT = 13, 18  # opsets where Split's sizes became an input


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Weights that lie beside each other along their channels."""

    names: tuple[str, ...]
    codes: tuple[Codes, ...]

    @property
    def numbers(self) -> Array:
        """Return the codes of all."""
        return np.concatenate([one.numbers for one in self.codes], axis=self.axis)

    def scales(self, *, flat: bool) -> Array:
        """Return all scales, [channels] or in a shape that broadcasts over the weights."""
        after = self.codes[0].numbers.ndim - self.codes[0].channel_axis - 1
        listed = np.concatenate([one.scales for one in self.codes])
        return listed if flat else listed.reshape(-1, *(1,) * after)

    @property
    def axis(self) -> int:
        """Return the axis of the channels."""
        return self.codes[0].channel_axis

    @property
    def halved(self) -> int | None:
        """The axis whose two halves share bytes; None where each code has its own."""
        shape = self.numbers.shape
        even = [axis for axis, size in enumerate(shape) if size % 2 == 0]
        small = self.codes[0].format.bits == NIBBLE_BITS
        return even[0] if small and even else None

    @property
    def sizes(self) -> list[int]:
        """Return how many channels each weight has."""
        return [one.numbers.shape[self.axis] for one in self.codes]


@dataclass(slots=True)
class Writer:
    """The constants and nodes written so far."""

    opset: int
    tensors: list[TensorProto] = field(default_factory=list)
    nodes: list[NodeProto] = field(default_factory=list)

    def constant(self, values: Array) -> str:
        """Store values; return their name."""
        name = f"{PREFIX}/{len(self.tensors)}"
        self.tensors.append(tensor(name, values))
        return name

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str = "",
        **attributes: int | str,
    ) -> str:
        """Add a node of one output; return the output's name."""
        output = output or f"{PREFIX}/n{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [output])
        node.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
        self.nodes.append(node)
        return output

    def split(self, data: str, names: Sequence[str], sizes: list[int], axis: int) -> None:
        """Cut a value into named parts."""
        inputs = [data]
        attributes: dict[str, object] = {"axis": axis} if axis else {}
        if self.opset < _SPLIT_INPUT:
            attributes["split"] = sizes
        elif len(set(sizes)) > 1:
            inputs.append(self.constant(np.array(sizes)))
        elif self.opset >= _SPLIT_COUNT:
            attributes["num_outputs"] = len(sizes)
        node = helper.make_node("Split", inputs, names)
        node.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
        self.nodes.append(node)
