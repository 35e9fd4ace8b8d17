"""Replace every tree ensemble of a model by one node, and plain nodes after it.

Ensembles that read the same rows, or columns picked from them, become the targets of one:
each target's sum is added up in the order it was, so no bit of it changes. Knows no
version of the operator: how the trees are written is given.
"""

from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from edgekit.errors import ConversionError
from edgekit_converters.flavors.trees.leaf_functions import folded
from edgekit_converters.flavors.trees.tree_answers import SUM, Sums, Writer, replacement
from edgekit_converters.flavors.trees.tree_reading import reading_of
from edgekit_converters.passes.forest import ENSEMBLES, Forest, joined, read
from edgekit_converters.passes.reachable import drop_decided
from edgekit_converters.passes.walk import copied, nodes

_READABLE = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64}
_UNTOLD = TensorProto.UNDEFINED  # ONNX infers no types of ai.onnx.ml's older operators
_LEAST_OPSET = 13  # ReduceSum and Split take their axes and sizes as inputs from here on
_FEW = 3  # ensembles to tell of one by one


@dataclass(kw_only=True)
class _Making:
    """A graph in the making: nodes in order, sums of trees not yet written."""

    write: Writer
    nodes: list[NodeProto | Sums] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    forests: list[Forest] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    floats: dict[str, str] = field(default_factory=dict)

    def as_float(self, value: str, kind: int) -> str:
        """Return the name of a value as float32, cast once if it is anything else."""
        if kind == TensorProto.FLOAT:
            return value
        if value not in self.floats:
            self.floats[value] = f"{value}/trees/float"
            cast = [value], [self.floats[value]]
            self.nodes.append(helper.make_node("Cast", *cast, to=TensorProto.FLOAT))
        return self.floats[value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A model whose ensembles are one node, what they are, and the forests they were."""

    model: ModelProto
    note: str
    forests: tuple[Forest, ...]
    names: tuple[str, ...]  # of what each of them answers


def one_forest(model: ModelProto, write: Writer) -> Replaced:
    """Return the model with its ensembles replaced; ConversionError says why it cannot."""
    _check(model)
    out = copied(folded(model))
    kinds, doubles = _element_types(out), _holds_doubles(out)
    making = _Making(write=write)
    for number, node in enumerate(out.graph.node):
        if node.op_type not in ENSEMBLES:
            making.nodes.append(node)
            continue
        reading = reading_of(out, node.input[0])
        forest = drop_decided(read(node))
        making.forests.append(forest)
        making.names.append(node.output[-1])
        if reading.columns:
            forest = forest.with_features(reading.columns)
        kind = kinds.get(reading.value, _UNTOLD)
        if kind not in _READABLE and (kind != _UNTOLD or doubles):
            name = TensorProto.DataType.Name(kind)
            raise ConversionError(f"trees that read {name}, float32 or integers expected")
        rows = making.as_float(reading.value, kind)
        new = replacement(node, forest, rows, prefix=f"trees{number}", write=write)
        making.nodes += new.nodes
        making.constants += new.constants
        making.notes.append(new.note)
    written = _written(making)
    del out.graph.node[:]
    out.graph.node.extend(written)
    out.graph.initializer.extend(making.constants)
    return Replaced(
        model=out,
        note=_note(making),
        forests=tuple(making.forests),
        names=tuple(making.names),
    )


def _written(making: _Making) -> list[NodeProto]:
    """Write each group of sums that read the same where the first of them stands."""
    groups: dict[tuple[str, bytes, int], list[Sums]] = {}
    for place, node in enumerate(making.nodes):
        if isinstance(node, Sums):
            alone = 0 if node.by == SUM else place
            groups.setdefault((node.read, node.by, alone), []).append(node)
    first = {id(group[0]): group for group in groups.values()}
    written: list[NodeProto] = []
    for node in making.nodes:
        if not isinstance(node, Sums):
            written.append(node)
        elif id(node) in first:
            written += _together(making, first[id(node)])
    return written


def _together(making: _Making, group: list[Sums]) -> list[NodeProto]:
    one = group[0]
    if len(group) == 1:
        return [making.write(one)]
    forest = joined([(sums.forest, sums.targets) for sums in group])
    targets = [sums.targets for sums in group]
    all_sums, sizes = f"{one.into}/all", f"{one.into}/sizes"
    making.constants.append(numpy_helper.from_array(np.array(targets, np.int64), sizes))
    node = making.write(
        Sums(forest=forest, read=one.read, into=all_sums, targets=sum(targets))
    )
    parts = [sums.into for sums in group]
    return [node, helper.make_node("Split", [all_sums, sizes], parts, axis=1)]


def _note(making: _Making) -> str:
    sums = [node for node in making.nodes if isinstance(node, Sums)]
    if len(sums) <= _FEW:
        return "; ".join(making.notes)
    trees = sum(len(one.forest.roots) for one in sums)
    splits = sum(len(one.forest.splits) for one in sums)
    return f"{len(sums)} ensembles of {trees} trees, {splits:,} splits"


def _check(model: ModelProto) -> None:
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    every = [node for node in nodes(model.graph) if node.op_type in ENSEMBLES]
    outermost = [node for node in model.graph.node if node.op_type in ENSEMBLES]
    if not every:
        raise ConversionError("no tree ensemble of ai.onnx.ml 1 to 3")
    if len(every) > len(outermost):
        raise ConversionError("a tree ensemble in a nested graph")
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    if opset < _LEAST_OPSET:
        raise ConversionError(
            f"opset {opset}, the nodes after the trees need {_LEAST_OPSET}"
        )


def _element_types(model: ModelProto) -> dict[str, int]:
    """Return the element type of each value, as far as it can be told."""
    known = shape_inference.infer_shapes(model).graph
    values = (*known.input, *known.value_info, *known.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _holds_doubles(model: ModelProto) -> bool:
    """Whether float64 occurs, so that a value whose type is not told may be it."""
    graph = model.graph
    kinds = (
        *(value.type.tensor_type.elem_type for value in graph.input),
        *(tensor.data_type for tensor in graph.initializer),
        *(e.i for node in nodes(graph) for e in node.attribute if e.name == "to"),
    )
    return TensorProto.DOUBLE in kinds


def trees_of(model: ModelProto) -> list[Forest]:
    """Return the forests of a model, one a node; ConversionError for what is none."""
    return [read(node) for node in nodes(model.graph) if node.op_type in ENSEMBLES]
