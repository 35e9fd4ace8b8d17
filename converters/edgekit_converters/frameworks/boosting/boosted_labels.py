"""Labels in a booster's rows: declared, given to the booster, and numbered in ONNX.

LightGBM keeps the categories of a pandas column beside its trees, which know their
numbers only. A value that is none of them, or missing, becomes a missing number.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from edgekit.errors import ConversionError
from edgekit.table import Table
from edgekit_converters.frameworks.boosting.boosted import Boosted, Labels
from edgekit_converters.frameworks.nodes import LABELS, Nodes, OwnGraph
from edgekit_converters.intake.inputs import TEXT, Field, Inputs

_WHOLE = 2**24  # from here on float32 leaves whole numbers out


def labels(feature: int, name: str, values: Sequence[object]) -> Labels:
    """Return a feature's labels; ConversionError unless float32 can tell them apart."""
    texts = tuple(value for value in values if isinstance(value, str))
    numbers = tuple(value for value in values if isinstance(value, (bool, int, float)))
    exact = all(abs(n) < _WHOLE and float(np.float32(n)) == n for n in numbers)
    if len(values) not in {len(texts), len(numbers)} or not exact:
        raise ConversionError(
            f"column {name}: its categories are neither texts nor numbers that float32"
            " holds exactly; train with texts, or with an OrdinalEncoder before it"
        )
    return Labels(feature=feature, known=texts or numbers)


def takes(boosted: Boosted) -> Inputs:
    """Return what a model with labels takes that has no signature."""
    texts = boosted.text_features
    listed = [
        Field(name=name, dtype=TEXT if number in texts else "float64")
        for number, name in enumerate(boosted.names)
    ]
    return Inputs(fields=tuple(listed), tensors=False)


def as_trained(boosted: Boosted, table: Table) -> pd.DataFrame:
    """Return rows as the booster takes them, labels as pandas's categories."""
    frame = pd.DataFrame(dict(table))
    for each in boosted.labels:
        name = frame.columns[each.feature]
        place = {value: number for number, value in enumerate(each.known)}
        codes = [place.get(value, -1) for value in frame[name].tolist()]
        known: pd.Index = pd.Index(each.known)
        frame[name] = pd.Categorical.from_codes(codes, categories=known)
    return frame


def add_rows(nodes: Nodes, boosted: Boosted) -> str:
    """Add what makes float32 [rows, features] of the graph's inputs.

    Numbers and texts come apart, each in the order of their features.
    """
    if not boosted.labels:
        return OwnGraph.INPUT
    texts = boosted.text_features
    numbers = [n for n in range(boosted.features) if n not in texts]
    parts = [OwnGraph.INPUT] if numbers else []
    columns = list(numbers)  # which feature each column of the joined parts is
    for each in boosted.labels:
        source, among = (OwnGraph.TEXTS, texts) if each.texts else (OwnGraph.INPUT, numbers)
        parts.append(_numbered(nodes, source, among.index(each.feature), each))
        columns.append(each.feature)
    joined = nodes.add("Concat", parts, attributes={"axis": 1})
    last = {feature: place for place, feature in enumerate(columns)}
    order = np.array([last[n] for n in range(boosted.features)], dtype=np.int64)
    return nodes.add("Gather", [joined, nodes.constant(order)], attributes={"axis": 1})


def _numbered(nodes: Nodes, source: str, column: int, each: Labels) -> str:
    """Add the column [rows, 1] of the labels' numbers, NaN for any other value."""
    place = nodes.constant(np.array([column], dtype=np.int64))
    given = nodes.add("Gather", [source, place], attributes={"axis": 1})
    kind = "strings" if each.texts else "floats"
    keys = [v if isinstance(v, str) else float(v) for v in each.known]
    return nodes.add(
        "LabelEncoder",
        [given],
        opset=LABELS,
        attributes={
            f"keys_{kind}": keys,
            "values_floats": [float(number) for number in range(len(keys))],
            "default_float": float("nan"),
        },
    )
