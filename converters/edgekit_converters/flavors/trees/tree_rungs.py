"""Ways to make a forest smaller that change its answers a little. Knows no ONNX, no gate.

What is cut off is replaced by its mean, weighed by the rows that reach it. Nothing here
decides how much is allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit_converters.flavors.trees.tree_weights import WeighedTree, answers
from edgekit_converters.passes.forest import Forest, Votes
from edgekit_converters.passes.reachable import drop_decided

_ROUGH = 1e-5  # of shares stored as float32
_MANTISSA = 23  # bits of float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A forest, its trees weighed, and what else must be known to cut it."""

    forest: Forest
    trees: tuple[WeighedTree, ...]

    @property
    def variance(self) -> float:
        """Return how far answers lie from the mean, tree by tree on average."""
        return float(np.mean([tree.spread[0] for tree in self.trees]))


def pruned(weighed: Weighed, price: float) -> Forest:
    """Return the forest with the splits that are worth less than `price` each cut off.

    Minimal cost-complexity pruning (Breiman and others 1984, chapter 3), its cost being
    how far the answers move from those of the whole tree.
    """
    trees = [_cheapest(weighed.forest, tree, price) for tree in weighed.trees]
    return drop_decided(weighed.forest.rebuilt(trees))


def shallower(weighed: Weighed, depth: int) -> Forest:
    """Return the forest with no path of more than `depth` splits."""
    trees: list[list[int | Votes]] = []
    for tree in weighed.trees:
        listed: list[int | Votes] = []
        waiting = [(0, 0)]
        while waiting:
            part, above = waiting.pop()
            if tree.true[part] < 0 or above < depth:
                listed.append(tree.places[part])
            else:
                listed.append(_leaf(weighed.forest, tree, part))
                continue
            if tree.true[part] >= 0:
                waiting.append((int(tree.false[part]), above + 1))
                waiting.append((int(tree.true[part]), above + 1))
        trees.append(listed)
    return drop_decided(weighed.forest.rebuilt(trees))


def averaging(forest: Forest, kept: int) -> Forest:
    """Return the first `kept` trees, each counting for more: a mean of fewer."""
    factor = len(forest.roots) / kept
    first = Forest(splits=forest.splits, leaves=forest.leaves, roots=forest.roots[:kept])
    return first.with_leaves(
        lambda _, votes: tuple((t, _float32(weight * factor)) for t, weight in votes)
    )


def boosting(weighed: Weighed, kept: int) -> Forest:
    """Return the first `kept` trees; what the others answer on average is added to them."""
    forest = weighed.forest
    if kept >= len(forest.roots):
        return forest
    lost = np.sum([tree.mean[0] for tree in weighed.trees[kept:]], axis=0)
    voting = [
        {target for leaf in forest.below(root) if leaf < 0
         for target, _ in forest.leaves[-1 - leaf]}
        for root in forest.roots[:kept]
    ]  # fmt: skip
    first_of = {
        target: n for n, seen in reversed(list(enumerate(voting))) for target in seen
    }
    first = Forest(splits=forest.splits, leaves=forest.leaves, roots=forest.roots[:kept])
    return first.with_leaves(
        lambda tree, votes: tuple(
            (t, _float32(weight + lost[t])) if first_of[t] == tree else (t, weight)
            for t, weight in votes
        )
    )


def rounded_leaves(forest: Forest, levels: int) -> Forest:
    """Return the forest with at most so many different weights for each target.

    Shares of one total are counted out in `levels` parts, so that they stay shares; other
    weights move to the nearest of equal steps from the least to the greatest.
    """
    totals = [sum(weight for _, weight in votes) for votes in forest.leaves]
    several = any(len(votes) > 1 for votes in forest.leaves)
    least = min(weight for votes in forest.leaves for _, weight in votes)
    shares = max(totals) - min(totals) <= _ROUGH * max(totals) and least >= 0
    if several and shares:
        share = 1.0 / len(forest.roots)
        total = share if abs(totals[0] - share) <= _ROUGH * share else totals[0]
        return forest.with_leaves(lambda _, votes: _counted(votes, levels, total))
    reach: dict[int, tuple[float, float]] = {}
    for target, weight in (vote for votes in forest.leaves for vote in votes):
        low, high = reach.get(target, (weight, weight))
        reach[target] = min(low, weight), max(high, weight)
    return forest.with_leaves(
        lambda _, votes: tuple((t, _nearest(w, *reach[t], levels)) for t, w in votes)
    )


def rounded_thresholds(forest: Forest, bits: int) -> Forest:
    """Return the forest with thresholds of so many bits after the leading one.

    They compress better; a row between the old and the new one goes the other way.
    """
    values = np.array([split.threshold for split in forest.splits], dtype=np.float32)
    away = 1 << (_MANTISSA - bits)
    integers = values.view(np.uint32).astype(np.uint64)
    rounded = ((integers + away // 2) & ~np.uint64(away - 1)).astype(np.uint32)
    short = rounded.view(np.float32)
    ordered = [split.mode not in {b"BRANCH_EQ", b"BRANCH_NEQ"} for split in forest.splits]
    safe = np.isfinite(values) & np.isfinite(short) & np.array(ordered, dtype=bool)
    moved = np.where(safe, short, values).tolist()
    splits = tuple(
        split._replace(threshold=threshold)
        for split, threshold in zip(forest.splits, moved, strict=True)
    )
    same = Forest(splits=splits, leaves=forest.leaves, roots=forest.roots)
    return drop_decided(same.with_leaves(lambda _, votes: votes))


def _cheapest(forest: Forest, tree: WeighedTree, price: float) -> Sequence[int | Votes]:
    """List a tree's parts, those that cost more whole than as one leaf as that leaf."""
    cost = (tree.spread + price).tolist()  # of each part as one leaf
    true, false = tree.true.tolist(), tree.false.tolist()
    cut = [False] * len(cost)
    for part in range(len(cost) - 1, -1, -1):
        if true[part] >= 0:
            whole = cost[true[part]] + cost[false[part]]
            cut[part] = cost[part] <= whole
            cost[part] = min(cost[part], whole)
    listed: list[int | Votes] = []
    waiting = [0]
    while waiting:
        part = waiting.pop()
        if cut[part]:
            listed.append(_leaf(forest, tree, part))
            continue
        listed.append(tree.places[part])
        if true[part] >= 0:
            waiting += [false[part], true[part]]
    return listed


def _leaf(forest: Forest, tree: WeighedTree, part: int) -> Votes:
    """Return the leaf for a part: a vote for each target that some leaf in it votes for."""
    targets: dict[int, float] = {}
    for leaf in forest.below(tree.places[part]):
        if leaf < 0:
            targets.update(forest.leaves[-1 - leaf])
    found = answers(tree, part, tuple(sorted(targets.items())))
    return tuple((target, _float32(weight)) for target, weight in found)


def _counted(votes: Votes, levels: int, total: float) -> Votes:
    """Round shares to whole parts of their total, by largest remainder."""
    weights = np.array([weight for _, weight in votes])
    exact = weights / weights.sum() * levels
    whole = np.floor(exact).astype(np.int64)
    left = levels - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return tuple(
        (target, _float32(parts / levels * total))
        for (target, _), parts in zip(votes, whole.tolist(), strict=True)
        if parts
    )


def _nearest(weight: float, low: float, high: float, levels: int) -> float:
    if low == high:
        return weight
    step = (high - low) / (levels - 1)
    number = round((weight - low) / step)
    return _float32(high if number == levels - 1 else low + number * step)


def _float32(number: float) -> float:
    return float(np.float32(number))
