"""The passes, all listed here: each takes a model and returns a smaller one.

A pass is a pure function of one ONNX model in its own file. PASSES promise equal outputs
up to the last bit, FOLDS up to float32's rounding; both, that inputs, outputs, opset
versions and the IR version stay.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnx import ModelProto

from edgekit_converters.passes.chatter import drop_chatter, drop_unused_opsets
from edgekit_converters.passes.constants import (
    dedupe_initialisers,
    drop_dead,
    lift_constants,
    shorten_integers,
)
from edgekit_converters.passes.defaults import drop_defaults
from edgekit_converters.passes.folding import fold_constants
from edgekit_converters.passes.gemm import merge_bias
from edgekit_converters.passes.invariants import read_outside
from edgekit_converters.passes.linear import fold_after_linear, fold_before_dense
from edgekit_converters.passes.names import short_names, shorten_names
from edgekit_converters.passes.no_ops import drop_no_ops
from edgekit_converters.passes.recurrent import loops_to_recurrent
from edgekit_converters.passes.recurrent_ends import trim_recurrent
from edgekit_converters.passes.transposes import cancel_transposes
from edgekit_converters.passes.trees import drop_tree_defaults, merge_subtrees

Pass = Callable[[ModelProto], ModelProto]

SHORTENING = "shorten-names"  # the last, so that the others see the names they are given

PASSES: Mapping[str, Pass] = {
    "lift-constants": lift_constants,
    "read-outside": read_outside,
    "fold-constants": fold_constants,
    "trim-recurrent": trim_recurrent,
    "drop-no-ops": drop_no_ops,
    "cancel-transposes": cancel_transposes,
    "merge-bias": merge_bias,
    "drop-dead": drop_dead,
    "dedupe-initialisers": dedupe_initialisers,
    "merge-subtrees": merge_subtrees,
    "drop-tree-defaults": drop_tree_defaults,
    "drop-defaults": drop_defaults,
    "drop-chatter": drop_chatter,
    "drop-unused-opsets": drop_unused_opsets,
    "shorten-integers": shorten_integers,
    SHORTENING: shorten_names,
}

FOLDS: Mapping[str, Pass] = {
    "loops-to-recurrent": loops_to_recurrent,
    "fold-after-linear": fold_after_linear,
    "fold-before-dense": fold_before_dense,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A model with short inner names, and the side map: short name -> the one before."""

    model: ModelProto
    names: Mapping[str, str]


def clean(model: ModelProto) -> ModelProto:
    """Return the model after every pass, in the order of PASSES."""
    for lossless in PASSES.values():
        model = lossless(model)
    return model


def simplify(model: ModelProto) -> ModelProto:
    """Return the model cleaned and folded: the same answers but for rounding."""
    return simplify_named(model).model


def clean_named(model: ModelProto) -> Named:
    """Clean a model and keep its names; `model` is that of `clean`."""
    return _shortened(_long_named(model))


def simplify_named(model: ModelProto) -> Named:
    """Simplify a model and keep its names; `model` is that of `simplify`."""
    model = _long_named(model)
    for fold in FOLDS.values():
        model = fold(model)
    return _shortened(_long_named(model))


def _long_named(model: ModelProto) -> ModelProto:
    for name, lossless in PASSES.items():
        if name != SHORTENING:
            model = lossless(model)
    return model


def _shortened(model: ModelProto) -> Named:
    names = {short: name for name, short in short_names(model).items()}
    return Named(model=PASSES[SHORTENING](model), names=names)
