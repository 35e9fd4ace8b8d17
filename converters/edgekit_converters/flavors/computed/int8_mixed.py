"""The int8-mixed flavor: int8 layers, but for those that lose most, which stay float.

Each layer is tried in int8 alone; the most sensitive ones stay float, as few as it takes
to stay within what the gate allows. Their weights are stored as int8 all the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit_converters.flavors.computed.int8_static import NO_TIME, against, told
from edgekit_converters.flavors.computed.integers import Layer, layers
from edgekit_converters.flavors.computed.kernels import execution
from edgekit_converters.flavors.computed.sensitivity import Sensitivity, ranked
from edgekit_converters.flavors.computed.variants import Variant, Workshop, choose, lost
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Finding, Search, Source


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with as many layers in int8 as stay within the allowed drop."""
    found = layers(source.model)
    reason = against(source.model, found)
    if reason:
        return DoesNotApply(reason=reason)
    if len(found) == 1 or source.search is None:
        return DoesNotApply(reason="it takes two layers or more, and rows to search on")
    search = source.search
    workshop = Workshop(source, found)
    choice = choose(workshop, source)
    if choice is None:
        return DoesNotApply(reason=NO_TIME)
    if choice.drop <= search.max_drop:
        return DoesNotApply(
            reason=f"with every layer in int8 the drop is {choice.drop:.4f} on the rows of"
            f" the search, {search.max_drop:g} is allowed"
        )
    plans = [_plan(workshop, variant, search) for variant in _twins(choice.variant)]
    best = min(plans, key=lambda plan: len(plan.floats))
    whole = _without(found, best.floats)
    if not whole:
        return DoesNotApply(reason=_hopeless(best.ranking, found, search))
    model = workshop.build(best.variant, whole)
    return Built(
        model=model,
        note=f"{len(whole)} of {len(found)} layers in int8, {told(best.variant, source)}",
        findings=(
            *choice.findings,
            *(_finding(one, source, stays=one.layer not in whole) for one in best.ranking),
            *execution(model, found, source),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Which layers stay float, so that a variant is allowed: all where none is."""

    variant: Variant
    ranking: tuple[Sensitivity, ...]
    floats: tuple[Layer, ...]


def _twins(variant: Variant) -> tuple[Variant, Variant]:
    """Return the variant and the one with the other scales.

    Which scales are better for all layers together says little once the worst stay float.
    """
    return variant, replace(variant, per_channel=not variant.per_channel)


def _plan(workshop: Workshop, variant: Variant, search: Search) -> _Plan:
    ranking = ranked(workshop, variant, search)
    floats = _fewest_floats(workshop, variant, ranking, search)
    return _Plan(variant=variant, ranking=ranking, floats=floats)


def _hopeless(
    ranking: Sequence[Sensitivity], found: Sequence[Layer], search: Search
) -> str:
    if search.spent():
        return f"the time was up after {len(ranking)} of {len(found)} layers"
    return "even one layer in int8 loses more than is allowed"


def _fewest_floats(
    workshop: Workshop, variant: Variant, ranking: Sequence[Sensitivity], search: Search
) -> tuple[Layer, ...]:
    """Return the layers to leave in float; all of them when leaving all but one is too few.

    Halves the number of floats as long as the drop is allowed, then gives each of them,
    the least sensitive first, another chance.
    """
    order = [one.layer for one in ranking]
    unknown = _without(workshop.layers, order)

    def allowed(floats: Sequence[Layer]) -> bool:
        whole = _without(workshop.layers, floats)
        search.progress(f"{len(whole)} of {len(workshop.layers)} layers in int8")
        return search.drop(workshop.build(variant, whole)) <= search.max_drop

    few, many = 0, len(order)
    while few < many and not search.spent():
        middle = (few + many) // 2
        if allowed([*unknown, *order[:middle]]):
            many = middle
        else:
            few = middle + 1
    best = [*unknown, *order[:many]]
    for layer in reversed(best if many < len(order) else []):
        if search.spent():
            break
        fewer = [one for one in best if one is not layer]
        if allowed(fewer):
            best = fewer
    return tuple(best)


def _without(found: Sequence[Layer], floats: Sequence[Layer]) -> tuple[Layer, ...]:
    return tuple(layer for layer in found if layer not in floats)


def _finding(one: Sensitivity, source: Source, *, stays: bool) -> Finding:
    mark = ", stays in float" if stays else ""
    return Finding(
        subject=source.original_name(one.layer.output),
        fact=f"alone in int8: {lost(one.drop, one.shift)}{mark}",
        value=None if math.isinf(one.drop) else one.drop,
    )
