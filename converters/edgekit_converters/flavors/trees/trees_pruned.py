"""The trees-pruned flavor: fewer splits and trees, as few as the gate allows.

Minimal cost-complexity pruning first, then fewer trees, then less depth, then rounding,
each as far as the rows of the search allow after the one before. Written as fp32-trees
writes them.
"""

from functools import partial

from edgekit.errors import ConversionError
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source
from edgekit_converters.flavors.trees.fp32_trees import packed
from edgekit_converters.flavors.trees.tree_bench import Bench, bench
from edgekit_converters.flavors.trees.tree_findings import Forests, names_of, splits, told
from edgekit_converters.flavors.trees.tree_rungs import (
    Weighed,
    averaging,
    boosting,
    pruned,
    shallower,
)
from edgekit_converters.flavors.trees.trees_rounded import rounded

_DOUBLINGS = range(-22, 3)  # of the price of a split, from a tree's variance
_SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)  # of the trees
_DEPTHS = tuple(range(24, 1, -1))


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with its forests pruned."""
    try:
        tried = bench(source)
        best, done = _pruned(tried)
        if splits(best) == splits(tried.forests):
            return DoesNotApply(reason=_hopeless(tried))
        small, more = rounded(tried, best)
        if small is not None:
            best = small
            done.append(more)
        new = packed(tried.model(best))
    except ConversionError as error:
        return DoesNotApply(reason=str(error))
    return Built(
        model=new.model,
        note=f"{', '.join(done)}{tried.untried}; TreeEnsemble 5: {new.note}",
        findings=(
            *tried.findings,
            *told(tried.forests, best, names_of(tried.source)),
        ),
    )


def _pruned(tried: Bench) -> tuple[Forests, list[str]]:
    best = tried.forests
    done: list[str] = []
    for ways in (_prices, _fewer_averaged, _fewer_boosted, _less_deep):
        named = ways(tried.weighed(best))
        found = tried.furthest([make for _, make in named], [name for name, _ in named])
        if found is not None and splits(found) < splits(best):
            best = found
            done.append(tried.last_allowed)
    return best, done


_Named = list[tuple[str, partial[Forests]]]
_All = tuple[Weighed, ...]


def _prices(weighed: _All) -> _Named:
    return [
        (f"splits worth 2^{n} of the variance", partial(_priced, weighed, n))
        for n in _DOUBLINGS
    ]


def _priced(weighed: _All, doublings: int) -> Forests:
    return tuple(pruned(one, one.variance * 2.0**doublings) for one in weighed)


def _fewer_averaged(weighed: _All) -> _Named:
    return [
        (f"{s:.0%} of the trees, averaged", partial(_averaged, weighed, s)) for s in _SHARES
    ]


def _averaged(weighed: _All, share: float) -> Forests:
    return tuple(averaging(one.forest, _kept(one, share)) for one in weighed)


def _fewer_boosted(weighed: _All) -> _Named:
    return [
        (f"the first {s:.0%} of the trees", partial(_boosted, weighed, s)) for s in _SHARES
    ]


def _boosted(weighed: _All, share: float) -> Forests:
    return tuple(boosting(one, _kept(one, share)) for one in weighed)


def _kept(weighed: Weighed, share: float) -> int:
    return max(1, round(len(weighed.forest.roots) * share))


def _less_deep(weighed: _All) -> _Named:
    return [(f"no more than {d} splits deep", partial(_cut, weighed, d)) for d in _DEPTHS]


def _cut(weighed: _All, depth: int) -> Forests:
    return tuple(shallower(one, depth) for one in weighed)


def _hopeless(tried: Bench) -> str:
    if tried.search.spent():
        return "the time was up before a smaller forest was allowed"
    return "no split can go without losing more than is allowed"
