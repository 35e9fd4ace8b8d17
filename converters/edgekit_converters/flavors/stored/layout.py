"""Write a model whose weights are codes: in as few tensors and nodes as there can be.

Small weights that differ only in their number of channels lie in one tensor, with one
Cast, one Mul and one Split for all of them. Packed codes of one format lie in one tensor
of numbers, taken apart by Div and Mod. Scales, and biases that float16 holds well enough,
are float16. All of it is computed once, when a session loads: onnxruntime folds nodes of
constants. It holds every step until all are done, so large models take fewer and smaller
steps: a DequantizeLinear takes codes to weights at once, in all 5 bytes a weight from int8,
6.5 from int4, where Cast and Mul take 8 and 15, and other packed formats 30. It needs the
session option of `unfolding_options`. Knows no samples and chooses no code.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import ModelProto, TensorProto

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
from edgekit_converters.flavors.stored.writer import PREFIX, Group, Writer
from edgekit_converters.passes.walk import copied, nodes, opset_of

_FLOAT = TensorProto.FLOAT
_JOINED = 8_192  # numbers; larger tensors gain too little by lying together
_LIGHT = 65_536  # codes; more are unpacked with less memory, and more nodes
HEAVY = 1_000_000  # codes; below it Cast and Mul take at most 6 MB more at the peak
_SCALED_AXIS = 13  # the opset since which DequantizeLinear takes a scale per channel
_QUANTISED = {"QuantizeLinear", "DequantizeLinear"}
_FOLD_OPTIONS = {"session.disable_quant_qdq": "1"}
_FEW = 16  # below it a Cast takes more bytes than half the numbers save


def write(
    model: ModelProto,
    codes: Mapping[str, Codes],
    numbers: Mapping[str, Array],
    *,
    heavy_from: int = HEAVY,
) -> ModelProto:
    """Return the model with these weights as codes, and these constants instead of its own.

    Constants that float16 holds to the bit are stored so. A session needs the options that
    `unfolding_options` tells.
    """
    out = copied(model)
    gone = codes.keys() | numbers.keys()
    kept = [entry for entry in out.graph.initializer if entry.name not in gone]
    writer = Writer(opset=opset_of(model))
    groups = _groups(codes)
    heavy = _is_heavy(model, codes, heavy_from)
    scales = {
        f"{PREFIX}/scale{n}": group.scales(flat=heavy) for n, group in enumerate(groups)
    }
    _write_numbers(writer, {**scales, **numbers})
    if heavy:
        _dequantised(writer, groups)
    else:
        _multiplied(writer, groups)
    after = list(out.graph.node)
    del out.graph.initializer[:]
    out.graph.initializer.extend([*kept, *writer.tensors])
    del out.graph.node[:]
    out.graph.node.extend([*writer.nodes, *after])
    return out


def is_heavy(model: ModelProto, numbers: int, heavy_from: int = HEAVY) -> bool:
    """Whether so many weights should unfold by DequantizeLinear, and can.

    The option that lets it fold would take the integer kernels of a model that has some.
    """
    plain = not any(node.op_type in _QUANTISED for node in nodes(model.graph))
    return plain and numbers >= heavy_from and opset_of(model) >= _SCALED_AXIS


def unfolding_options(model: ModelProto) -> Mapping[str, str]:
    """Return the session options with which a model's weights unfold at load."""
    kinds = {node.op_type for node in nodes(model.graph)}
    folding = "DequantizeLinear" in kinds and "QuantizeLinear" not in kinds
    return _FOLD_OPTIONS if folding else {}


def _is_heavy(model: ModelProto, codes: Mapping[str, Codes], heavy_from: int) -> bool:
    """Whether the codes unfold in few steps: all are, and are worth it."""
    sizes = sum(one.numbers.size for one in codes.values())
    return is_heavy(model, sizes, heavy_from) and all(
        one.format.spare for one in codes.values()
    )


def _groups(codes: Mapping[str, Codes]) -> list[Group]:
    alike: dict[object, list[str]] = {}
    for name, one in codes.items():
        others = list(one.numbers.shape)
        others[one.channel_axis] = 0
        own = "" if one.numbers.size <= _JOINED else name
        key = (one.format, one.channel_axis, own, halves(one.scales), *others)
        alike.setdefault(key, []).append(name)
    return [
        Group(names=tuple(names), codes=tuple(codes[name] for name in names))
        for names in alike.values()
    ]


def _dequantised(writer: Writer, groups: list[Group]) -> None:
    """Unfold each group's codes by one node, from int8 or from halves of bytes."""
    for number, group in enumerate(groups):
        inputs = [_in_bytes(writer, group), f"{PREFIX}/scale{number}"]
        if group.halved is not None:
            largest = group.codes[0].format.largest
            inputs.append(writer.constant(np.full(sum(group.sizes), largest, np.uint8)))
        alone = len(group.names) == 1
        name = group.names[0] if alone else ""
        value = writer.node("DequantizeLinear", inputs, name, axis=group.axis)
        if not alone:
            writer.split(value, group.names, group.sizes, group.axis)


def _in_bytes(writer: Writer, group: Group) -> str:
    """Return codes of a byte each: int8, or uint8 around the largest code."""
    axis = group.halved
    if axis is None:
        return writer.constant(group.numbers.astype(np.int8))
    form = group.codes[0].format
    numbers = (group.numbers + form.largest).astype(np.uint8)
    low, high = np.split(numbers, 2, axis=axis)
    packed = writer.constant(low | high << NIBBLE_BITS)
    entries = writer.constant(np.array(1 << NIBBLE_BITS, np.uint8))
    places = writer.constant(np.array(NIBBLE_BITS, np.uint8))
    halves = [
        writer.node("Mod", [packed, entries]),
        writer.node("BitShift", [packed, places], direction="RIGHT"),
    ]
    return writer.node("Concat", halves, axis=axis)


def _multiplied(writer: Writer, groups: list[Group]) -> None:
    """Unfold codes by Cast and Mul, packed ones of one format together."""
    by_format: dict[Format, list[int]] = {}
    for number, group in enumerate(groups):
        by_format.setdefault(group.codes[0].format, []).append(number)
    for form, numbered in by_format.items():
        unfold = _unpacked if form.packed else _plain
        chosen = [groups[number] for number in numbered]
        for number, value in zip(numbered, unfold(writer, chosen), strict=True):
            _scaled(writer, groups[number], value, f"{PREFIX}/scale{number}")


def _plain(writer: Writer, groups: list[Group]) -> Iterator[str]:
    for group in groups:
        stored = writer.constant(group.numbers.astype(np.int8))
        yield writer.node("Cast", [stored], to=_FLOAT)


def _unpacked(writer: Writer, groups: list[Group]) -> Iterator[str]:
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


def _digits(writer: Writer, flat: Array, form: Format) -> str:
    packed = writer.constant(pack(flat, form)[:, None])
    shifted = writer.node("Div", [packed, writer.constant(powers(form))])
    return writer.node("Mod", [shifted, writer.constant(np.array(form.entries))])


def _digits_of_bytes(writer: Writer, flat: Array, form: Format) -> str:
    packed = writer.constant(pack_bytes(flat, form)[:, None])
    places = writer.constant(np.array([0, NIBBLE_BITS], np.uint8))
    shifted = writer.node("BitShift", [packed, places], direction="RIGHT")
    return writer.node(
        "Mod", [shifted, writer.constant(np.array(1 << NIBBLE_BITS, np.uint8))]
    )


def _parts(writer: Writer, value: str, groups: list[Group], count: int) -> Iterator[str]:
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


def _scaled(writer: Writer, group: Group, value: str, scale: str) -> None:
    alone = len(group.names) == 1
    scaled = writer.node("Mul", [value, scale], group.names[0] if alone else "")
    if not alone:
        writer.split(scaled, group.names, group.sizes, group.axis)


def _write_numbers(writer: Writer, numbers: Mapping[str, Array]) -> None:
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
