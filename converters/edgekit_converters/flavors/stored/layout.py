"""Write a model whose weights are codes: in as few tensors and nodes as there can be.

Small weights that differ only in their number of channels lie in one tensor, with one
Cast, one Mul and one Split for all of them. Packed codes of one format lie in one tensor
of numbers, taken apart by Div and Mod. Scales, and biases that float16 holds well enough,
are float16. All of it is computed once, when a session loads: onnxruntime folds nodes of
constants. It holds every step until all are done, so large weights take fewer and smaller
steps: in all 8 bytes a weight from int8, 15 from int4, 30 from other packed formats.
Knows no samples and chooses no code.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgekit.table import Array
from edgekit_converters.flavors.stored.compensation import Codes
from edgekit_converters.flavors.stored.formats import (
    NIBBLE_BITS,
    Format,
    pack,
    pack_bytes,
    powers,
)
from edgekit_converters.flavors.stored.rounding import halves
from edgekit_converters.flavors.stored.weights import tensor
from edgekit_converters.passes.walk import copied

_PREFIX = "stored"
_FLOAT = TensorProto.FLOAT
_SPLIT_INPUT, _SPLIT_COUNT = 13, 18  # opsets where Split's sizes became an input
_JOINED = 8_192  # numbers; larger tensors gain too little by lying together
_LIGHT = 65_536  # codes; more are unpacked with less memory, and more nodes
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
        self,
        operator: str,
        inputs: Sequence[str],
        output: str = "",
        **attributes: int | str,
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
        own = "" if one.numbers.size <= _JOINED else name
        key = (one.format, one.channel_axis, own, halves(one.scales), *others)
        alike.setdefault(key, []).append(name)
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
    light = flat.size <= _LIGHT
    halved = form.bits == NIBBLE_BITS  # bytes compress better on the wire than numbers
    count = 2 if halved else form.digits
    digits = _digits_of_bytes(writer, flat, form) if halved else _digits(writer, flat, form)
    middle = writer.constant(np.array(form.largest, np.float32))

    def centred(value: str) -> str:
        floats = writer.node("Cast", [value], to=_FLOAT)
        return writer.node("Sub", [floats, middle])

    if light:
        yield from _parts(writer, centred(digits), groups, count)
        return
    small = digits if halved else writer.node("Cast", [digits], to=TensorProto.UINT8)
    for part in _parts(writer, small, groups, count):
        yield centred(part)


def _digits(writer: _Writer, flat: Array, form: Format) -> str:
    packed = writer.constant(pack(flat, form)[:, None])
    shifted = writer.node("Div", [packed, writer.constant(powers(form))])
    return writer.node("Mod", [shifted, writer.constant(np.array(form.entries))])


def _digits_of_bytes(writer: _Writer, flat: Array, form: Format) -> str:
    packed = writer.constant(pack_bytes(flat, form)[:, None])
    places = writer.constant(np.array([0, NIBBLE_BITS], np.uint8))
    shifted = writer.node("BitShift", [packed, places], direction="RIGHT")
    return writer.node(
        "Mod", [shifted, writer.constant(np.array(1 << NIBBLE_BITS, np.uint8))]
    )


def _parts(writer: _Writer, value: str, groups: list[_Group], count: int) -> Iterator[str]:
    """Yield each group's share of the digits in its shape; what pads the last is left."""
    sizes = [group.numbers.size for group in groups]
    if sum(sizes) % count:
        sizes.append(-sum(sizes) % count)
    parts = [value]
    if len(sizes) > 1:
        line = writer.node("Reshape", [value, writer.constant(np.array([-1]))])
        parts = [f"{line}/{number}" for number in range(len(sizes))]
        writer.split(line, parts, sizes, 0)
    for part, group in zip(parts, groups, strict=False):
        shape = writer.constant(np.array(group.numbers.shape))
        yield writer.node("Reshape", [part, shape])


def _scaled(writer: _Writer, group: _Group, value: str, scale: str) -> None:
    alone = len(group.names) == 1
    scaled = writer.node("Mul", [value, scale], group.names[0] if alone else "")
    if not alone:
        writer.split(scaled, group.names, group.sizes, group.axis)


def _write_numbers(writer: _Writer, numbers: Mapping[str, Array]) -> None:
    """Store arrays; float16 ones that differ only in their first dimension, in one."""
    alike: dict[object, list[str]] = {}
    for name, values in numbers.items():
        if halves(values):
            own = "" if values.size <= _JOINED else name
            alike.setdefault((own, values.shape[1:]), []).append(name)
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
