"""Round float64 thresholds to float32 so that no float32 input changes sides.

scikit-learn compares in float64, ONNX in float32: rounding to the nearest moves the rows
that lie exactly on a threshold.
"""

import numpy as np

from edgekit.table import Array


def rounded_down(thresholds: Array) -> Array:
    """Return the greatest float32 not above each: x <= t is true for the same x."""
    near = thresholds.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > thresholds, below, near)


def rounded_up(thresholds: Array) -> Array:
    """Return the least float32 not below each: x >= t is true for the same x."""
    near = thresholds.astype(np.float32)
    above = np.nextafter(near, np.float32(np.inf))
    return np.where(near.astype(np.float64) < thresholds, above, near)
