"""Rows that a converted booster could get wrong, and how it answers them."""

from typing import Any

import numpy as np
from onnx import TensorProto

from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import decode, encode
from edgekit_converters.flavors import Built
from edgekit_converters.flavors.flavor import Source
from edgekit_converters.flavors.trees import fp32_trees
from edgekit_converters.frameworks import finishing
from edgekit_converters.frameworks.boosting.boosted import Boosted, Link, Trees
from edgekit_converters.frameworks.boosting.boosted_graph import add_answer, add_margins
from edgekit_converters.frameworks.nodes import OwnGraph
from edgekit_converters.passes import clean

# Zeros of both signs, denormals, LightGBM's own "zero" (1e-35), fractions, the largest.
AWKWARD = (0.0, -0.0, np.nan, 1e-40, -1e-40, 1e-35, -1e-35, 1.5e-35, 1e9, 3e38, -3e38)
CODES = (0.0, -0.0, 1.0, 2.5, 2.0, 7.0, -0.5, -1.0, -3.0, 64.0, 1e6, 2.0**24, np.nan)
INFINITE = (np.inf, -np.inf)  # XGBoost refuses them
MARGINS, ANSWERS = "margins", "answers"


def edges(boosted: Boosted, *more: float, seed: int = 3) -> Array:
    """Float32 rows on every threshold, just beside it, and on awkward values.

    [rows, features]; each column holds all values, each in an order of its own.
    """
    trees = boosted.margins.trees if isinstance(boosted.margins, Trees) else ()
    splits = [np.zeros(1), *(tree.threshold for tree in trees)]
    near = np.unique(np.concatenate(splits).astype(np.float32))
    with np.errstate(over="ignore"):  # beside the largest number is infinity
        sides = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
    values = np.concatenate([near, *sides, np.array([*AWKWARD, *more], dtype=np.float32)])
    order = np.random.default_rng(seed)
    columns = [order.permutation(np.tile(values, 3)) for _ in range(boosted.features)]
    return np.stack(columns, axis=1)


def graph_of(boosted: Boosted) -> bytes:
    """The booster's graph with margins and answers as outputs."""
    nodes = OwnGraph(boosted.features)
    margins = add_margins(nodes, OwnGraph.INPUT, boosted)
    nodes.add("Identity", [margins], into=MARGINS)
    add_answer(nodes, margins, boosted.link, into=ANSWERS)
    whole = boosted.link is Link.LARGEST
    kinds = {
        MARGINS: TensorProto.FLOAT,
        ANSWERS: TensorProto.INT64 if whole else TensorProto.FLOAT,
    }
    return bytes(nodes.model(kinds, opset=17).SerializeToString())


def asked(model: bytes, rows: Array) -> dict[str, Any]:
    """Every output of a graph that takes one matrix."""
    graph = decode(model)
    session = Session.load(model, finishing.needs(graph))
    return session.run({graph.graph.input[0].name: rows})


def compacted(model: bytes) -> bytes:
    """The graph as the fp32-trees flavor stores it."""
    built = fp32_trees.build(Source(model=clean(decode(model)), calibration={}))
    assert isinstance(built, Built), built
    return encode(clean(built.model))


def assert_answers(boosted: Boosted, rows: Array, margins: Array, answers: Array) -> None:
    """The graph, as it is and compacted, gives these margins and answers on rows.

    Margins are sums of float32 in some order: a leaf of another row would differ by far
    more than the rounding that is allowed here.
    """
    plain = graph_of(boosted)
    forms = [plain]
    if isinstance(boosted.margins, Trees):
        forms.append(compacted(plain))
    for form in forms:
        got = asked(form, rows)
        assert_near(got[MARGINS], margins)
        assert_near(got[ANSWERS], answers)


def assert_near(got: Array, wanted: Array) -> None:
    """Equal but for float32 sums in another order, whose terms may cancel out."""
    reach = 1e-5 * max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=1e-5, atol=reach)
