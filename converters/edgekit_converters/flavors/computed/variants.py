"""Choose how the layers of a model are quantised: calibration, and scales by channel.

Neither one scale per channel nor a wider range is better in general (an autoencoder's AUC
was .867 with one scale, .814 with one per channel), so every combination is tried on the
rows of the search, in the gate's own metric.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from onnx import ModelProto

from edgekit_converters.flavors.computed.calibration import Method, range_of
from edgekit_converters.flavors.computed.integers import Layer, edges
from edgekit_converters.flavors.computed.kernels import node_name
from edgekit_converters.flavors.computed.qdq import quantised
from edgekit_converters.flavors.computed.ranges import Spread, observed
from edgekit_converters.flavors.flavor import Built, Finding, Search, Source
from edgekit_converters.flavors.shift import Reference
from edgekit_converters.flavors.stored import int8
from edgekit_converters.passes.walk import copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to quantise."""

    method: Method
    per_channel: bool

    def __str__(self) -> str:
        """Return it in words."""
        scales = "one scale per channel" if self.per_channel else "one scale per tensor"
        return f"{self.method} calibration, {scales}"


DEFAULT = Variant(method=Method.MIN_MAX, per_channel=True)


class Workshop:
    """A float model and how its values are spread, ready to be quantised in many ways.

    The nodes of its layers are named, so that they are found again in what really runs.
    """

    def __init__(self, source: Source, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self.model = copied(source.model)
        for layer in layers:
            self.model.graph.node[layer.number].name = node_name(layer.number)
        self.reference = Reference(source.model, source.calibration)
        wanted = edges(source.model, layers)
        self._spreads: Mapping[str, Spread] = observed(
            source.model, wanted, source.calibration
        )

    def build(self, variant: Variant, layers: Sequence[Layer] | None = None) -> ModelProto:
        """Return the model with these layers, or all, in int8."""
        chosen = self.layers if layers is None else layers
        ranges = {
            name: range_of(self._spreads[name], variant.method)
            for name in edges(self.model, chosen)
        }
        model = quantised(self.model, chosen, ranges, per_channel=variant.per_channel)
        return _with_small_weights(model)


def _with_small_weights(model: ModelProto) -> ModelProto:
    """Return the model with the weights that compute in float stored as int8."""
    smaller = int8.build(Source(model=model, calibration={}))
    return smaller.model if isinstance(smaller, Built) else model


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a variant loses on the rows of the search: in the metric, and of the outputs."""

    variant: Variant
    drop: float
    shift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The variant that was chosen, its drop, and what all others lost."""

    variant: Variant
    drop: float
    findings: tuple[Finding, ...]


def choose(workshop: Workshop, source: Source) -> Choice | None:
    """Return the best variant; the default one without a search, None without time.

    Of those that the metric allows, the one whose outputs move least; else the one that
    loses least.
    """
    search = source.search
    if search is None:
        return Choice(variant=DEFAULT, drop=math.nan, findings=())
    losses: list[Loss] = []
    variants = [
        Variant(method=method, per_channel=per_channel)
        for method, per_channel in product(Method, (False, True))
    ]
    for number, variant in enumerate(variants):
        if losses and search.spent():
            break
        best = (
            f"; least drop so far {min(one.drop for one in losses):.4f}" if losses else ""
        )
        search.progress(f"variant {number + 1} of {len(variants)}, {variant}{best}")
        loss = _loss(workshop, variant, search)
        if math.isinf(loss.drop) and search.spent():
            break  # it was not judged to the end
        losses.append(loss)
    if not losses:
        return None
    allowed = [one for one in losses if one.drop <= search.max_drop]
    chosen = (
        min(allowed, key=lambda one: one.shift)
        if allowed
        else min(losses, key=lambda one: (one.drop, one.shift))
    )
    return Choice(
        variant=chosen.variant,
        drop=chosen.drop,
        findings=tuple(_finding(one, chosen=one is chosen) for one in losses),
    )


def _least(losses: Sequence[Loss]) -> str:
    if not losses:
        return ""
    return f"; least drop so far {min(one.drop for one in losses):.4f}"


def _loss(workshop: Workshop, variant: Variant, search: Search) -> Loss:
    model = workshop.build(variant)
    return Loss(
        variant=variant,
        drop=search.drop(model),
        shift=workshop.reference.shift(model),
    )


def lost(drop: float, shift: float) -> str:
    """Say what was lost, in words."""
    if math.isinf(drop):
        return "does not run"
    return f"drop {drop:.4f}, outputs move by {shift:.2%} of their spread"


def _finding(one: Loss, *, chosen: bool) -> Finding:
    mark = ", chosen" if chosen else ""
    return Finding(
        subject="whole model",
        fact=f"{one.variant}: {lost(one.drop, one.shift)}{mark}",
        value=None if math.isinf(one.drop) else one.drop,
    )
