"""The passes, all listed here: each takes a model and returns a smaller one.

A pass is a pure function of one ONNX model in its own file. PASSES promise equal outputs
up to the last bit, FOLDS up to float32's rounding; both, that inputs, outputs, opset
versions and the IR version stay.
"""

from collections.abc import Callable, Mapping

from onnx import ModelProto

from edgekit_converters.passes.chatter import drop_chatter, drop_unused_opsets
from edgekit_converters.passes.constants import (
    dedupe_initialisers,
    drop_dead,
    lift_constants,
    shorten_integers,
)
from edgekit_converters.passes.gemm import merge_bias
from edgekit_converters.passes.linear import fold_after_linear, fold_before_dense
from edgekit_converters.passes.names import shorten_names
from edgekit_converters.passes.trees import drop_tree_defaults, merge_subtrees

Pass = Callable[[ModelProto], ModelProto]

PASSES: Mapping[str, Pass] = {
    "lift-constants": lift_constants,
    "drop-dead": drop_dead,
    "merge-bias": merge_bias,
    "dedupe-initialisers": dedupe_initialisers,
    "merge-subtrees": merge_subtrees,
    "drop-tree-defaults": drop_tree_defaults,
    "drop-chatter": drop_chatter,
    "drop-unused-opsets": drop_unused_opsets,
    "shorten-integers": shorten_integers,
    "shorten-names": shorten_names,
}

FOLDS: Mapping[str, Pass] = {
    "fold-after-linear": fold_after_linear,
    "fold-before-dense": fold_before_dense,
}


def clean(model: ModelProto) -> ModelProto:
    """Return the model after every pass, in the order of PASSES."""
    for lossless in PASSES.values():
        model = lossless(model)
    return model


def simplify(model: ModelProto) -> ModelProto:
    """Return the model cleaned and folded: the same answers but for rounding."""
    model = clean(model)
    for fold in FOLDS.values():
        model = fold(model)
    return clean(model)
