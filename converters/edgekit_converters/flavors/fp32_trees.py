"""The fp32-trees flavor: every tree ensemble as one TreeEnsemble 5 with shared leaves.

Thresholds, comparisons and ways of missing values are copied, so every row ends in the
same leaf. Equal leaves are stored once. A TreeEnsemble 5 only adds up: base values, label
and post-transform become nodes after it. Runs from onnxruntime
1.21 on, so boards with an older one keep fp32. Knows no framework.
"""

from onnx import ModelProto, NodeProto, TensorProto, helper, shape_inference

from edgekit.errors import ConversionError
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source
from edgekit_converters.flavors.tree_answers import Replacement, replacement
from edgekit_converters.passes.forest import ENSEMBLES
from edgekit_converters.passes.walk import copied, nodes

ML_DOMAIN = "ai.onnx.ml"
ML_OPSET = 5  # the first with TreeEnsemble
_IR_VERSION = 10  # the first that knows this ai.onnx.ml
_LEAST_OPSET = 13  # ReduceSum takes its axes as an input from here on
_READABLE = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64}
_UNTOLD = TensorProto.UNDEFINED  # ONNX infers no types of ai.onnx.ml's older operators
_LEAST_ML_OPSET = {"LabelEncoder": 2}  # what this operator's form of today needs


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with all of its tree ensembles replaced."""
    model = copied(source.model)
    reason = _against(model)
    if reason:
        return DoesNotApply(reason=reason)
    kinds, doubles = _element_types(model), _holds_doubles(model)
    kept: list[NodeProto] = []
    notes: list[str] = []
    for number, node in enumerate(model.graph.node):
        if node.op_type not in ENSEMBLES:
            kept.append(node)
            continue
        kind = kinds.get(node.input[0], _UNTOLD)
        if kind not in _READABLE and (kind != _UNTOLD or doubles):
            name = TensorProto.DataType.Name(kind)
            return DoesNotApply(
                reason=f"trees that read {name}, float32 or integers expected"
            )
        try:
            new = replacement(node, f"trees{number}")
        except ConversionError as error:
            return DoesNotApply(reason=str(error))
        kept += _read_as_float(new, kind)
        model.graph.initializer.extend(new.constants)
        notes.append(new.note)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    _raise(model)
    return Built(model=model, note=f"TreeEnsemble 5: {'; '.join(notes)}")


def _against(model: ModelProto) -> str:
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    every = [node.op_type for node in nodes(model.graph)]
    outermost = [node.op_type for node in model.graph.node]
    trees = [kind for kind in every if kind in ENSEMBLES]
    if not trees:
        return "no tree ensemble of ai.onnx.ml 1 to 3"
    if len(trees) > len([kind for kind in outermost if kind in ENSEMBLES]):
        return "a tree ensemble in a nested graph"
    if opsets.get("", opsets.get("ai.onnx", 0)) < _LEAST_OPSET:
        return f"opset {opsets.get('', 0)}, the nodes after the trees need {_LEAST_OPSET}"
    for kind, least in _LEAST_ML_OPSET.items():
        if kind in every and opsets.get(ML_DOMAIN, 1) < least:
            return f"{kind} as ai.onnx.ml {opsets.get(ML_DOMAIN, 1)} has it, {least} needed"
    return ""


def _element_types(model: ModelProto) -> dict[str, int]:
    """Return the element type of each value, as far as it can be told."""
    known = shape_inference.infer_shapes(model).graph
    values = (*known.input, *known.value_info, *known.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _holds_doubles(model: ModelProto) -> bool:
    """Whether float64 occurs, so that a value whose type is not told may be it."""
    graph = model.graph
    return (
        any(_double(value.type.tensor_type.elem_type) for value in graph.input)
        or any(_double(tensor.data_type) for tensor in graph.initializer)
        or any(
            entry.name == "to" and _double(entry.i)
            for node in nodes(graph)
            for entry in node.attribute
        )
    )


def _double(element: int) -> bool:
    return element == TensorProto.DOUBLE


def _read_as_float(new: Replacement, kind: int) -> list[NodeProto]:
    """Return the nodes; TreeEnsemble 5 reads no integers, as its forerunners do."""
    if kind == TensorProto.FLOAT:
        return list(new.nodes)
    trees = next(node for node in new.nodes if node.op_type == "TreeEnsemble")
    read = f"{trees.output[0]}/float"
    cast = helper.make_node("Cast", [trees.input[0]], [read], to=TensorProto.FLOAT)
    trees.input[0] = read
    return [cast, *new.nodes]


def _raise(model: ModelProto) -> None:
    for entry in model.opset_import:
        if entry.domain == ML_DOMAIN:
            entry.version = ML_OPSET
    model.ir_version = max(model.ir_version, _IR_VERSION)
