"""The trees-rounded flavor: leaves and thresholds of fewer bits, as far as the gate allows.

Fewer different leaves are fewer bytes in the file; shorter thresholds are fewer on the
wire. The trees keep their shape. Written as fp32-trees writes them.
"""

from functools import partial

from edgekit.errors import ConversionError
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source
from edgekit_converters.flavors.trees.fp32_trees import packed
from edgekit_converters.flavors.trees.tree_bench import Bench, bench
from edgekit_converters.flavors.trees.tree_findings import Forests, leaves, names_of, told
from edgekit_converters.flavors.trees.tree_rungs import rounded_leaves, rounded_thresholds

LEVELS = (256, 128, 64, 32, 16, 8, 4)
BITS = (14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2)  # of a threshold's 23 after the leading one


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with its forests rounded."""
    try:
        tried = bench(source)
        best, done = rounded(tried, tried.forests)
        if best is None:
            return DoesNotApply(reason=_hopeless(tried))
        new = packed(tried.model(best))
    except ConversionError as error:
        return DoesNotApply(reason=str(error))
    return Built(
        model=new.model,
        note=f"{done}{tried.untried}; TreeEnsemble 5: {new.note}",
        findings=(
            *tried.findings,
            *told(tried.forests, best, names_of(tried.source)),
        ),
    )


def rounded(tried: Bench, forests: Forests) -> tuple[Forests | None, str]:
    """Return the forests rounded as far as allowed, and how; None if not at all."""
    fewer = [levels for levels in LEVELS if levels < leaves(forests)]
    named = [f"leaves of {levels} levels" for levels in fewer]
    best = tried.furthest([partial(_leaves, forests, levels) for levels in fewer], named)
    done = [] if best is None else [tried.last_allowed]
    start = forests if best is None else best
    named = [f"thresholds of {bits} bits" for bits in BITS]
    short = tried.furthest([partial(_thresholds, start, bits) for bits in BITS], named)
    if short is not None and short != start:
        best = short
        done.append(tried.last_allowed)
    return best, ", ".join(done)


def _leaves(forests: Forests, levels: int) -> Forests:
    return tuple(rounded_leaves(forest, levels) for forest in forests)


def _thresholds(forests: Forests, bits: int) -> Forests:
    return tuple(rounded_thresholds(forest, bits) for forest in forests)


def _hopeless(tried: Bench) -> str:
    if tried.search.spent():
        return "the time was up"
    return "the gentlest rounding of leaves or thresholds loses more than is allowed"
