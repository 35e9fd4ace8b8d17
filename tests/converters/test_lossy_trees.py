"""Rounded and pruned forests: what they keep, what they cost, and who is asked."""

from collections.abc import Mapping

import numpy as np
import pytest
from onnx import ModelProto

from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import Built, DoesNotApply, Source
from edgekit_converters.flavors.trees.tree_rungs import (
    Weighed,
    averaging,
    boosting,
    pruned,
    rounded_leaves,
    rounded_thresholds,
    shallower,
)
from edgekit_converters.flavors.trees.tree_weights import weighed
from edgekit_converters.flavors.trees.trees_pruned import build as prune
from edgekit_converters.flavors.trees.trees_rounded import build as round_off
from edgekit_converters.passes import clean
from edgekit_converters.passes.forest import Forest, read
from tests.converters import networks
from tests.converters.extractions import outputs_of
from tests.converters.test_trees import Tree, classifier, ensemble, regressor, split

RNG = np.random.default_rng(2)
ROWS = RNG.normal(0, 1, (400, 2)).astype(np.float32)
OPTIONS: Mapping[str, str] = {}


def staircase(low: float, high: float, depth: int, feature: int = 0) -> Tree:
    """A tree that answers about the feature itself, in 2**depth steps."""
    middle = (low + high) / 2
    if depth == 0:
        return {0: middle}
    lower = staircase(low, middle, depth - 1, feature)
    return split(feature, middle, lower, staircase(middle, high, depth - 1, feature))


TREES = [staircase(-2, 2, 6), staircase(-2, 2, 6, 1), staircase(-0.01, 0.01, 4)]


def forest_of(trees: list[Tree], kind: str = "TreeEnsembleRegressor") -> Forest:
    return read(ensemble(kind, trees, ["y"]))


def scales(forest: Forest, targets: int = 1) -> Weighed:
    return Weighed(forest=forest, trees=tuple(weighed(forest, ROWS, targets)))


class Judge:
    """A Search whose drop is the mean distance from what the model answers."""

    def __init__(self, model: ModelProto, max_drop: float, *, asks: int = 1000) -> None:
        self.max_drop = max_drop
        self.asked: list[float] = []
        self._left = asks
        self._expected = answer(model)

    def drop(
        self, model: ModelProto, session_options: Mapping[str, str] = OPTIONS
    ) -> float:
        assert not session_options
        self._left -= 1
        self.asked.append(float(np.abs(answer(model) - self._expected).mean()))
        return self.asked[-1]

    def progress(self, text: str) -> None:
        assert text

    def spent(self) -> bool:
        return self._left <= 0


def answer(model: ModelProto) -> Array:
    outputs = outputs_of(encode(model), {"x": ROWS})
    return next(values for values in outputs.values() if values.dtype == np.float32)


def source(model: ModelProto, max_drop: float, *, asks: int = 1000) -> Source:
    return Source(
        model=clean(model),
        calibration={"x": ROWS},
        search=Judge(clean(model), max_drop, asks=asks),
    )


def test_parts_weigh_what_reaches_them_and_mean_what_they_answer() -> None:
    forest = forest_of([split(0, 0.0, {0: 1.0}, split(1, 0.0, {0: 2.0}, {0: 4.0}))])
    (tree,) = weighed(forest, ROWS, 1)
    left = (ROWS[:, 0] <= 0).mean()
    assert tree.share[1] == pytest.approx(left, abs=0.01)
    assert tree.share[0] == 1.0
    right = ROWS[ROWS[:, 0] > 0, 1] <= 0
    assert tree.mean[2, 0] == pytest.approx(np.where(right, 2, 4).mean(), abs=0.02)
    assert tree.spread[1] == 0.0


def test_no_price_cuts_nothing_and_a_high_one_leaves_the_mean() -> None:
    one = scales(forest_of(TREES))
    assert len(pruned(one, 0.0).splits) == len(one.forest.splits)
    stumps = pruned(one, 1e6)
    assert stumps.splits == ()
    assert stumps.leaves[-1 - stumps.roots[0]][0][1] == pytest.approx(
        np.clip(ROWS[:, 0], -2, 2).mean(), abs=0.05
    )


def test_what_moves_answers_least_is_cut_first() -> None:
    kept = pruned(scales(forest_of(TREES)), 1e-4)
    assert len(list(kept.below(kept.roots[2]))) == 1  # the flat one
    assert len(list(kept.below(kept.roots[0]))) > 20


def test_no_path_is_longer_than_the_depth_allows() -> None:
    cut = shallower(scales(forest_of(TREES)), 2)
    assert max(len(list(cut.in_order(root))) for root in cut.roots) == 7


def test_fewer_trees_keep_the_mean() -> None:
    one = scales(forest_of(TREES))
    few = boosting(one, 1)
    lost = sum(tree.mean[0, 0] for tree in one.trees[1:])
    first = one.forest.leaves[-1 - next(one.forest.below(one.forest.roots[0]))][0][1]
    moved = few.leaves[-1 - next(few.below(few.roots[0]))][0][1]
    assert moved == pytest.approx(first + lost, abs=1e-6)
    third = averaging(one.forest, 1)
    tripled = third.leaves[-1 - next(third.below(third.roots[0]))][0][1]
    assert tripled == pytest.approx(3 * first)


def test_rounded_shares_stay_shares() -> None:
    third = 1 / 3
    leaves: list[Tree] = [
        {0: third * 0.21, 1: third * 0.79},
        {0: third * 0.5, 1: third * 0.3, 2: third * 0.2},
        {2: third},
    ]
    trees = [split(0, 0.0, leaves[n], leaves[(n + 1) % 3]) for n in range(3)]
    rounded = rounded_leaves(forest_of(trees), 8)
    for votes in rounded.leaves:
        assert sum(weight for _, weight in votes) == pytest.approx(third)
        assert all(weight * 24 == pytest.approx(round(weight * 24)) for _, weight in votes)


def test_rounded_weights_keep_their_extremes_and_become_few() -> None:
    forest = forest_of(TREES)
    rounded = rounded_leaves(forest, 16)
    weights = [votes[0][1] for votes in rounded.leaves]
    before = [votes[0][1] for votes in forest.leaves]
    assert len(rounded.leaves) <= 16
    assert (min(weights), max(weights)) == pytest.approx((min(before), max(before)))


def test_rounded_thresholds_are_near_and_short_and_equality_stays_exact() -> None:
    exact = (0, 0.1, "BRANCH_EQ", 0, {0: 1.0}, split(1, 0.1, {0: 2.0}, {0: 3.0}))
    rounded = rounded_thresholds(forest_of([exact]), 4)
    equal, less = sorted(rounded.splits, key=lambda one: one.mode)
    assert np.float32(equal.threshold) == np.float32(0.1)
    assert less.threshold == pytest.approx(0.1, rel=1 / 32)
    assert np.float32(less.threshold).view(np.uint32) % (1 << 19) == 0


@pytest.mark.parametrize("build", [round_off, prune])
def test_a_flavor_stays_well_within_what_is_allowed(build: object) -> None:
    assert callable(build)
    given = source(regressor(TREES), 0.2)
    built = build(given)
    assert isinstance(built, Built), built
    lost = np.abs(answer(built.model) - answer(given.model)).mean()
    assert 0 < lost <= 0.05 + 1e-6
    assert len(encode(clean(built.model))) < len(encode(given.model)) / 2
    told = {finding.subject for finding in built.findings}
    assert {"all trees", "y, tree 1", "y, tree 3"} <= told


def test_pruning_goes_further_than_rounding_where_more_is_allowed() -> None:
    sizes = []
    for allowed in (0.02, 0.2):
        built = prune(source(regressor(TREES), allowed))
        assert isinstance(built, Built)
        sizes.append(len(encode(clean(built.model))))
    assert sizes[1] < sizes[0]


def test_where_only_better_answers_are_allowed_nothing_is_cut() -> None:
    for build in (round_off, prune):
        refused = build(source(regressor(TREES), -1.0))
        assert isinstance(refused, DoesNotApply)
        assert "than is allowed" in refused.reason


def test_a_search_that_is_out_of_time_keeps_the_best_so_far() -> None:
    built = prune(source(regressor(TREES), 4.0, asks=1))
    assert isinstance(built, Built), built
    assert "when the time was up" in built.note
    none = prune(source(regressor(TREES), 0.2, asks=0))
    assert isinstance(none, DoesNotApply)
    assert none.reason == "the time was up before a smaller forest was allowed"


def test_classes_are_pruned_too_and_still_answered() -> None:
    trees = [
        split(n % 2, t, {n % 3: 0.2}, split(1 - n % 2, t, {(n + 1) % 3: 0.2}, {2: 0.2}))
        for n, t in enumerate((-0.4, -0.1, 0.0, 0.3, 0.6))
    ]
    built = prune(source(classifier(trees, [0, 1, 2]), 0.3))
    assert isinstance(built, Built), built
    shares = answer(built.model)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)


def test_equal_models_give_equal_bytes() -> None:
    files = set()
    for _ in range(2):
        built = prune(source(regressor(TREES), 0.05))
        assert isinstance(built, Built)
        files.add(encode(clean(built.model)))
    assert len(files) == 1


def test_without_trees_or_rows_to_search_on_it_does_not_apply() -> None:
    for build in (round_off, prune):
        alone = build(Source(model=clean(regressor(TREES)), calibration={}))
        assert alone == DoesNotApply(reason="it takes rows to search on")
        network = networks.classifier()
        other = build(
            Source(
                model=network, calibration={}, search=Judge(clean(regressor(TREES)), 1.0)
            )
        )
        assert other == DoesNotApply(reason="no tree ensemble of ai.onnx.ml 1 to 3")
