"""How far a graph's answers lie from the original's. Knows numpy only.

Foreign converters misread some models without a word; what they write is judged by this.
"""

import numpy as np

from edgekit.table import Array

_OTHER_LABELS = 0.01  # as a share of the rows: more than float32 moves over a border
_OTHER_NUMBERS = 0.001  # on average, of the largest: ten times what float32 costs


def distance(got: Array | dict[str, Array] | None, wanted: Array | None) -> float:
    """Return how far answers lie apart; 1 is the most that float32 may explain."""
    if not isinstance(got, np.ndarray) or wanted is None:
        return 0.0
    if wanted.dtype.kind != "f":
        return float((got != wanted).mean()) / _OTHER_LABELS
    known = np.isfinite(wanted)
    if not known.any():
        return 0.0
    largest = float(np.abs(wanted[known]).max())
    return float(np.abs(got - wanted)[known].mean()) / (largest or 1.0) / _OTHER_NUMBERS
