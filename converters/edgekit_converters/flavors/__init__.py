"""The flavors, all listed here: name -> how it is built. Knows no gate and no board."""

from collections.abc import Mapping

from edgekit_converters.flavors import fp32
from edgekit_converters.flavors.computed import int8_mixed, int8_static
from edgekit_converters.flavors.flavor import (
    Builder,
    Built,
    DoesNotApply,
    Finding,
    Search,
    Source,
)
from edgekit_converters.flavors.stored import fp16, int8, weight_only, weights_mixed
from edgekit_converters.flavors.stored.formats import INT4, INT5
from edgekit_converters.flavors.trees import (
    fp32_trees,
    fp32_trees_v1,
    trees_pruned,
    trees_rounded,
)

FLAVORS: Mapping[str, Builder] = {
    "fp32": fp32.build,  # first: the others are judged against it
    "fp32-trees": fp32_trees.build,
    "fp16": fp16.build,
    "int8": int8.build,
    "int5": weight_only.builder(INT5),
    "int4": weight_only.builder(INT4),
    "weights-mixed": weights_mixed.build,
    "int8-static": int8_static.build,
    "int8-mixed": int8_mixed.build,
    "fp32-trees-v1": fp32_trees_v1.build,
    "trees-rounded": trees_rounded.build,
    "trees-pruned": trees_pruned.build,
}

# The same function as the exported model, but for the order in which floats are added up.
LOSSLESS = frozenset({"fp32", "fp32-trees", "fp32-trees-v1"})

__all__ = [
    "FLAVORS",
    "LOSSLESS",
    "Builder",
    "Built",
    "DoesNotApply",
    "Finding",
    "Search",
    "Source",
]
