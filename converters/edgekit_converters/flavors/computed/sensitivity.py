"""Rank the layers of a model by what is lost when that layer alone computes in int8.

By the gate's metric first; where it cannot tell two layers apart, by how far the model's
own outputs move. Knows no way to quantise but the workshop's.
"""

import math
from dataclasses import dataclass

from edgekit_converters.flavors.computed.integers import Layer
from edgekit_converters.flavors.computed.variants import Variant, Workshop
from edgekit_converters.flavors.flavor import Search


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What one layer alone loses: in the metric, and of the outputs' spread."""

    layer: Layer
    drop: float
    shift: float


def ranked(workshop: Workshop, variant: Variant, search: Search) -> tuple[Sensitivity, ...]:
    """Return the layers, the most sensitive first; fewer when the time is spent."""
    found: list[Sensitivity] = []
    for number, layer in enumerate(workshop.layers):
        if search.spent():
            break
        count = f"{number + 1} of {len(workshop.layers)}"
        search.progress(f"layer {count} alone{_worst(found)}")
        alone = workshop.build(variant, (layer,))
        drop = search.drop(alone)
        if math.isinf(drop) and search.spent():
            break  # it was not judged to the end
        found.append(
            Sensitivity(layer=layer, drop=drop, shift=workshop.reference.shift(alone))
        )
    return tuple(sorted(found, key=lambda one: (-one.drop, -one.shift, one.layer.number)))


def _worst(found: list[Sensitivity]) -> str:
    if not found:
        return ""
    return f"; largest drop so far {max(one.drop for one in found):.4f}"
