"""The fp32-trees flavor: every tree ensemble in one TreeEnsemble 5 with shared leaves.

Thresholds, comparisons and ways of missing values keep their meaning, so every row ends in
the same leaf. A TreeEnsemble 5 only adds up: base values, label and post-transform become
nodes after it. Runs from onnxruntime 1.21 on; fp32-trees-v1 runs on older ones. Knows no
framework.
"""

from onnx import ModelProto

from edgekit.errors import ConversionError
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source
from edgekit_converters.flavors.trees.one_forest import Replaced, one_forest
from edgekit_converters.flavors.trees.tree_ensemble import tree_ensemble
from edgekit_converters.flavors.trees.tree_findings import described
from edgekit_converters.passes.walk import nodes

ML_DOMAIN = "ai.onnx.ml"
ML_OPSET = 5  # the first with TreeEnsemble
_IR_VERSION = 10  # the first that knows this ai.onnx.ml
_LEAST_ML_OPSET = {"LabelEncoder": 2}  # what this operator's form of today needs


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with all of its tree ensembles replaced."""
    try:
        new = packed(source.model)
    except ConversionError as error:
        return DoesNotApply(reason=str(error))
    names = [source.original_name(name) for name in new.names]
    return Built(
        model=new.model,
        note=f"TreeEnsemble 5: {new.note}",
        findings=described(new.forests, names),
    )


def packed(model: ModelProto) -> Replaced:
    """Return the model in this form, or raise ConversionError."""
    held = {entry.domain: entry.version for entry in model.opset_import}.get(ML_DOMAIN, 1)
    every = {node.op_type for node in nodes(model.graph)}
    for kind, least in _LEAST_ML_OPSET.items():
        if kind in every and held < least:
            raise ConversionError(f"{kind} as ai.onnx.ml {held} has it, {least} needed")
    new = one_forest(model, tree_ensemble)
    for entry in new.model.opset_import:
        if entry.domain == ML_DOMAIN:
            entry.version = ML_OPSET
    new.model.ir_version = max(new.model.ir_version, _IR_VERSION)
    return new
