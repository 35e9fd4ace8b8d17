"""Write a model whose weights are codes: in as few tensors and nodes as there can be.

Weights that differ only in their number of channels lie in one tensor, with one Cast, one
Mul and one Split for all of them. Packed codes of one format lie in one tensor of int64
numbers, taken apart by Div and Mod. Scales, and biases that float16 holds well enough,
are float16. All of it is computed once, when a session loads: onnxruntime folds nodes of
constants. Knows no samples and chooses no code.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgekit.table import Array
from edgekit_converters.flavors.compensation import Codes
from edgekit_converters.flavors.formats import Format, pack, powers
from edgekit_converters.flavors.rounding import halves
from edgekit_converters.flavors.weights import tensor
from edgekit_converters.passes.walk import copied

_PREFIX = "stored"
_FLOAT = TensorProto.FLOAT
_SPLIT_INPUT, _SPLIT_COUNT = 13, 18  # opsets where Split's sizes became an input
_FEW = 16  # below it a Cast takes more bytes than half the numbers save


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Weights that lie beside each other along their channels."""

    names: tuple[str, ...]
    codes: tuple[Codes, ...]

    @property
    def numbers(self) -> Array:
        """Return the codes of all."""
        return np.concatenate([one.numbers for one in self.codes], axis=self.axis)

    @property
    def scales(self) -> Array:
        """Return all scales in a shape that broadcasts over the weights."""
        after = self.codes[0].numbers.ndim - self.codes[0].channel_axis - 1
        flat = np.concatenate([one.scales for one in self.codes])
        return flat.reshape(-1, *(1,) * after)

    @property
    def axis(self) -> int:
        return self.codes[0].channel_axis

    @property
    def sizes(self) -> list[int]:
        return [one.numbers.shape[self.axis] for one in self.codes]


@dataclass(slots=True)
class _Writer:
    """The constants and nodes written so far."""

    opset: int
    tensors: list[TensorProto] = field(default_factory=list)
    nodes: list[NodeProto] = field(default_factory=list)

    def constant(self, values: Array) -> str:
        """Store values; return their name."""
        name = f"{_PREFIX}/{len(self.tensors)}"
        self.tensors.append(tensor(name, values))
        return name

    def node(
        self, operator: str, inputs: Sequence[str], output: str = "", **attributes: int
    ) -> str:
        """Add a node of one output; return the output's name."""
        output = output or f"{_PREFIX}/n{len(self.nodes)}"
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


def write(
    model: ModelProto, codes: Mapping[str, Codes], numbers: Mapping[str, Array]
) -> ModelProto:
    """Return the model with these weights as codes, and these constants instead of its own.

    Constants that float16 holds to the bit are stored so.
    """
    out = copied(model)
    gone = codes.keys() | numbers.keys()
    kept = [entry for entry in out.graph.initializer if entry.name not in gone]
    opset = max((o.version for o in model.opset_import if not o.domain), default=0)
    writer = _Writer(opset=opset)
    groups = _groups(codes)
    scales = {f"{_PREFIX}/scale{n}": group.scales for n, group in enumerate(groups)}
    _write_numbers(writer, {**scales, **numbers})
    by_format: dict[Format, list[int]] = {}
    for number, group in enumerate(groups):
        by_format.setdefault(group.codes[0].format, []).append(number)
    for form, numbered in by_format.items():
        unfold = _unpacked if form.packed else _plain
        chosen = [groups[number] for number in numbered]
        for number, value in zip(numbered, unfold(writer, chosen), strict=True):
            _scaled(writer, groups[number], value, f"{_PREFIX}/scale{number}")
    after = list(out.graph.node)
    del out.graph.initializer[:]
    out.graph.initializer.extend([*kept, *writer.tensors])
    del out.graph.node[:]
    out.graph.node.extend([*writer.nodes, *after])
    return out


def _groups(codes: Mapping[str, Codes]) -> list[_Group]:
    alike: dict[object, list[str]] = {}
    for name, one in codes.items():
        others = list(one.numbers.shape)
        others[one.channel_axis] = 0
        key = (one.format, one.channel_axis, *others)
        alike.setdefault((key, halves(one.scales)), []).append(name)
    return [
        _Group(names=tuple(names), codes=tuple(codes[name] for name in names))
        for names in alike.values()
    ]


def _plain(writer: _Writer, groups: list[_Group]) -> Iterator[str]:
    for group in groups:
        stored = writer.constant(group.numbers.astype(np.int8))
        yield writer.node("Cast", [stored], to=_FLOAT)


def _unpacked(writer: _Writer, groups: list[_Group]) -> Iterator[str]:
    form = groups[0].codes[0].format
    flat = np.concatenate([group.numbers.reshape(-1) for group in groups])
    packed = pack(flat, form)[:, None]
    shifted = writer.node("Div", [writer.constant(packed), writer.constant(powers(form))])
    digits = writer.node("Mod", [shifted, writer.constant(np.array(form.entries))])
    floats = writer.node("Cast", [digits], to=_FLOAT)
    middle = writer.constant(np.array(form.largest, np.float32))
    values = writer.node("Sub", [floats, middle])
    sizes = [group.numbers.size for group in groups]
    if packed.size * form.digits > flat.size:
        sizes.append(packed.size * form.digits - flat.size)
    parts = [values]
    if len(sizes) > 1:
        line = writer.node("Reshape", [values, writer.constant(np.array([-1]))])
        parts = [f"{line}/{number}" for number in range(len(sizes))]
        writer.split(line, parts, sizes, 0)
    for part, group in zip(parts, groups, strict=False):  # one may be the padding
        shape = writer.constant(np.array(group.numbers.shape))
        yield writer.node("Reshape", [part, shape])


def _scaled(writer: _Writer, group: _Group, value: str, scale: str) -> None:
    alone = len(group.names) == 1
    scaled = writer.node("Mul", [value, scale], group.names[0] if alone else "")
    if not alone:
        writer.split(scaled, group.names, group.sizes, group.axis)


def _write_numbers(writer: _Writer, numbers: Mapping[str, Array]) -> None:
    """Store arrays; float16 ones that differ only in their first dimension, in one."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for name, values in numbers.items():
        if halves(values):
            alike.setdefault(values.shape[1:], []).append(name)
        else:
            writer.tensors.append(tensor(name, values))
    for names in alike.values():
        joined = np.concatenate([numbers[name] for name in names])
        if joined.size < _FEW:
            writer.tensors.extend(tensor(name, numbers[name]) for name in names)
            continue
        alone = len(names) == 1
        stored = writer.constant(joined.astype(np.float16))
        value = writer.node("Cast", [stored], names[0] if alone else "", to=_FLOAT)
        if not alone:
            writer.split(value, names, [len(numbers[name]) for name in names], 0)
