"""What a report tells of forests, tree by tree. Knows no search and no rung."""

from collections.abc import Sequence

from onnx import ModelProto, NodeProto

from edgekit_converters.flavors.flavor import Finding, Source
from edgekit_converters.passes.forest import ENSEMBLES, Forest

Forests = tuple[Forest, ...]  # one for each ensemble of a model, in its order


def ensembles(model: ModelProto) -> list[NodeProto]:
    """Return a model's tree ensembles of ai.onnx.ml 1 to 3, in its order."""
    return [node for node in model.graph.node if node.op_type in ENSEMBLES]


def splits(forests: Forests) -> int:
    """Return how many splits forests have, equal subtrees counted once."""
    return sum(len(forest.splits) for forest in forests)


def leaves(forests: Forests) -> int:
    """Return how many different leaves forests have."""
    return sum(len(forest.leaves) for forest in forests)


def told(before: Forests, after: Forests, names: Sequence[str]) -> tuple[Finding, ...]:
    """Return a line for each tree: its splits and leaves before and after."""
    found = []
    for name, old, new in zip(names, before, after, strict=True):
        for number, root in enumerate(old.roots):
            was = list(old.in_order(root))
            now = list(new.in_order(new.roots[number])) if number < len(new.roots) else []
            found.append(_line(f"{name}, tree {number + 1}", was, now))
    return tuple(found)


def described(forests: Forests, names: Sequence[str]) -> tuple[Finding, ...]:
    """Return a line for each tree: its splits and leaves."""
    found = []
    for name, forest in zip(names, forests, strict=True):
        for number, root in enumerate(forest.roots):
            places = list(forest.in_order(root))
            tests = sum(place >= 0 for place in places)
            levels = len({place for place in places if place < 0})
            fact = f"{tests:,} splits, {levels:,} different leaves"
            subject = f"{name}, tree {number + 1}"
            found.append(Finding(subject=subject, fact=fact, value=float(tests)))
    return tuple(found)


def _line(subject: str, was: list[int], now: list[int]) -> Finding:
    before = sum(place >= 0 for place in was)
    after = sum(place >= 0 for place in now)
    levels = len({place for place in was if place < 0})
    left = len({place for place in now if place < 0})
    fact = f"{before:,} splits and {levels:,} different leaves before"
    fact += f", {after:,} and {left:,} after" if now else ", dropped"
    return Finding(subject=subject, fact=fact, value=float(after))


def names_of(source: Source) -> list[str]:
    """Return what the original model calls its ensembles: the name of what they answer."""
    return [source.original_name(node.output[-1]) for node in ensembles(source.model)]
