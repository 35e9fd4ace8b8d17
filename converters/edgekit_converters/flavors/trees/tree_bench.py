"""Try lossy variants of a model's forests on the rows of the search. Knows no rung.

A variant is one forest for each ensemble of the model, in the model's order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import ModelProto

from edgekit.errors import ConversionError
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors.batches import run
from edgekit_converters.flavors.computed.ranges import exposing
from edgekit_converters.flavors.flavor import Finding, Search, Source
from edgekit_converters.flavors.trees.leaf_functions import folded
from edgekit_converters.flavors.trees.tree_findings import (
    Forests,
    ensembles,
    leaves,
    splits,
)
from edgekit_converters.flavors.trees.tree_rungs import Weighed
from edgekit_converters.flavors.trees.tree_weights import weighed
from edgekit_converters.passes.forest import read, write
from edgekit_converters.passes.reachable import drop_decided
from edgekit_converters.passes.walk import copied

ALLOWANCE = 0.25  # of the allowed drop, where no labels tell how sure the drop is
_ERRORS = 2  # standard errors: about the gate's interval
MOST_ROWS = 4_096  # to weigh a tree's parts by


@dataclass(kw_only=True)
class Bench:
    """The ensembles of one model, and what was learnt by trying variants of them."""

    source: Source
    search: Search
    forests: Forests
    labels: Array | None = None  # what the model answers for the rows of the search
    findings: list[Finding] = field(default_factory=list)
    last_allowed: str = ""  # the name of the variant that `furthest` returned last

    @property
    def untried(self) -> str:
        """Say so when the time ran out before the search was done."""
        return " when the time was up" if self.search.spent() else ""

    def model(self, forests: Forests) -> ModelProto:
        """Return the model with these forests in place of its own."""
        out = copied(self.source.model)
        for node, forest in zip(ensembles(out), forests, strict=True):
            node.CopyFrom(write(node, forest))
        return out

    def allows(self, forests: Forests, what: str) -> bool:
        """Whether a variant loses no more than the gate allows, with a margin.

        Rows of the search flatter what is chosen on them: a gain counts for nothing, and
        the margin is two standard errors of the drop, as labels that change go either way.
        """
        model = self.model(forests)
        drop = self.search.drop(model)
        self.findings.append(
            Finding(
                subject="all trees",
                fact=f"{what}: {splits(forests):,} splits, {leaves(forests):,} different"
                f" leaves, drop {drop:.4f} on the rows of the search",
                value=drop,
            )
        )
        return max(drop, 0.0) + self._margin(model) <= self.search.max_drop

    def _margin(self, model: ModelProto) -> float:
        if self.labels is None:
            return (1.0 - ALLOWANCE) * abs(self.search.max_drop)
        changed = float(np.mean(self.labels != _labels(model, self.source)))
        return _ERRORS * math.sqrt(changed / len(self.labels))

    def furthest(
        self, variants: Sequence[Callable[[], Forests]], names: Sequence[str]
    ) -> Forests | None:
        """Return the last variant that is allowed, None if none is.

        They are taken to lose more and more: a bisection. Ends early, with the best so
        far, when the time is up.
        """
        best: Forests | None = None
        low, high = 0, len(variants)
        while low < high and not self.search.spent():
            middle = (low + high) // 2
            self.search.progress(names[middle])
            made = variants[middle]()
            if self.allows(made, names[middle]):
                best, low = made, middle + 1
                self.last_allowed = names[middle]
            else:
                high = middle
        return best

    def weighed(self, forests: Forests) -> tuple[Weighed, ...]:
        """Return the forests with their parts weighed by the rows of the search."""
        found = []
        for node, forest in zip(ensembles(self.source.model), forests, strict=True):
            targets = 1 + max(t for votes in forest.leaves for t, _ in votes)
            rows = _rows(self.source, node.input[0])
            found.append(
                Weighed(forest=forest, trees=tuple(weighed(forest, rows, targets)))
            )
        return tuple(found)


def bench(source: Source) -> Bench:
    """Return where a model's forests can be tried; ConversionError says why they cannot."""
    search = source.search
    if search is None:
        raise ConversionError("it takes rows to search on")
    source = replace(source, model=folded(source.model))
    nodes = ensembles(source.model)
    if not nodes:
        raise ConversionError("no tree ensemble of ai.onnx.ml 1 to 3")
    forests = tuple(drop_decided(read(node)) for node in nodes)
    if not all(votes for forest in forests for votes in forest.leaves):
        raise ConversionError("a leaf without a vote")
    return Bench(
        source=source,
        search=search,
        forests=forests,
        labels=_labels(source.model, source),
    )


def _labels(model: ModelProto, source: Source) -> Array | None:
    """Return the labels that a model answers, None where it answers numbers only."""
    for values in _outputs(model, source).values():
        if values.dtype.kind in "OUi":
            return values.reshape(len(values), -1)[:, 0]
    return None


def _outputs(model: ModelProto, source: Source) -> dict[str, Array]:
    needs = RuntimeNeeds(opsets={}, ir_version=model.ir_version, min_onnxruntime="")
    return run(Session.load(encode(model), needs), source.calibration)


def _rows(source: Source, name: str) -> Array:
    """Return what an ensemble reads for the rows of the search, as float32."""
    known = source.calibration.get(name)
    if known is None:
        known = _outputs(exposing(source.model, [name]), source)[name]
    step = max(1, -(-len(known) // MOST_ROWS))
    found: Array = np.ascontiguousarray(known[::step], dtype=np.float32)
    return found
