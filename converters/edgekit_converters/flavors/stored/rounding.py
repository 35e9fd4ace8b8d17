"""Round rows of weights to whole codes so that what a layer answers changes least. Pure.

A row is what one output channel multiplies its inputs with; it has one scale. With the
inputs' moments known, the rows are first fitted to the inputs that earlier rounding
left, then the error of each rounded weight is carried over to the weights not yet rounded
(Frantar and others, "GPTQ", 2022, after Hassibi and Stork, "Optimal Brain Surgeon",
1993). Measured on ad01 at 5 bits: the error falls from 2.7 to 0.34 of the answers' spread.
Knows no graph.
"""

from dataclasses import dataclass

import numpy as np

from edgekit.table import Array

_SHARES = np.concatenate([np.geomspace(0.1, 0.98, 47), [1.0]])  # of the widest scale
_DAMPING = 0.01  # of the mean moment, so that inputs that never vary do no harm
_MOST_SHRUNK = 0.5  # with few samples, moments between inputs count half
_SHRUNK = 0.1  # of inputs per sample
_NOTHING = 1e-12
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # nothing is divided by zero
_SMALLEST_HALF = float(np.finfo(np.float16).tiny)
_LARGEST_HALF = float(np.finfo(np.float16).max)
_REFITTED = 2.0  # times smaller or larger: what a scale may become by refitting


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What is known of a layer's inputs, [inputs, inputs] each, their means taken off.

    `own` are the mean products of the inputs as they are after earlier rounding, `cross`
    those of the original inputs (first axis) with them.
    """

    own: Array
    cross: Array

    @classmethod
    def of(cls, before: Array, after: Array) -> "Moments":
        """Return the moments of [samples, inputs] before and after earlier rounding."""
        old, new = before - before.mean(axis=0), after - after.mean(axis=0)
        samples, inputs = new.shape
        own, cross = new.T @ new / samples, old.T @ new / samples
        shrunk = min(_MOST_SHRUNK, _SHRUNK * inputs / samples)
        return cls(own=_shrunk(own, shrunk), cross=_shrunk(cross, shrunk))


def round_rows(rows: Array, largest: int, importance: Array) -> tuple[Array, Array]:
    """Return the nearest codes (-largest to largest) and [rows] float32 scales.

    `rows` and `importance`, a weight's in the squared error, are [rows, inputs].
    """
    scales = _best_scales(rows, largest, importance)
    return _nearest(rows / scales[:, None], largest), scales


def round_for_inputs(rows: Array, largest: int, moments: Moments) -> tuple[Array, Array]:
    """Return codes and scales with which the rows' products with their inputs stay."""
    own, damping = moments.own, _damping(moments.own)
    fitted = np.linalg.solve(own + damping, (rows @ (moments.cross + damping)).T).T
    importance = np.broadcast_to(np.diagonal(own + damping), rows.shape)
    scales = _best_scales(fitted, largest, importance)
    order = np.argsort(-np.diagonal(own), kind="stable")  # the busiest inputs first
    back = np.argsort(order, kind="stable")
    upper = _carried(own[np.ix_(order, order)])
    codes = _in_turn(fitted[:, order], scales, largest, upper)[:, back]
    scales = _refitted(fitted, codes, scales, own)
    return _in_turn(fitted[:, order], scales, largest, upper)[:, back], scales


def halves(values: Array) -> bool:
    """Whether float16 holds each of these numbers to the bit."""
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16).astype(np.float32) == values).all())


def _best_scales(rows: Array, largest: int, importance: Array) -> Array:
    """Return the scales with the least squared error, each input weighted."""
    widest = np.abs(rows).max(axis=1) / largest
    widest = np.where(widest > 0, widest, 1.0)
    best, least = _kept(widest, widest), np.full(len(rows), np.inf)
    for share in _SHARES:
        scales = _kept(widest * share, widest).astype(np.float64)
        error = _nearest(rows / scales[:, None], largest) * scales[:, None] - rows
        loss = (error**2 * importance).sum(axis=1)
        best = np.where(loss < least, scales, best)
        least = np.minimum(loss, least)
    return best.astype(np.float32)


def _refitted(rows: Array, codes: Array, scales: Array, own: Array) -> Array:
    """Return the scales that fit codes best, where they stay near what they were."""
    products = codes @ own
    fitted = (rows * products).sum(axis=1)
    fitted /= np.maximum((codes * products).sum(axis=1), _NOTHING)
    near = (fitted > scales / _REFITTED) & (fitted < scales * _REFITTED)
    return _kept(np.where(near, fitted, scales), scales)


def _carried(own: Array) -> Array:
    """Return how a rounding error of one input is made up for by those after it."""
    inverse = np.linalg.inv(own + _damping(own))
    return np.linalg.cholesky((inverse + inverse.T) / 2).T


def _in_turn(rows: Array, scales: Array, largest: int, upper: Array) -> Array:
    left = rows.copy()
    wide = scales.astype(np.float64)
    codes = np.zeros(rows.shape, np.int64)
    for column in range(rows.shape[1]):
        codes[:, column] = _nearest(left[:, column] / wide, largest)
        error = (left[:, column] - codes[:, column] * wide) / upper[column, column]
        left[:, column + 1 :] -= np.outer(error, upper[column, column + 1 :])
    return codes


def _nearest(values: Array, largest: int) -> Array:
    return np.clip(np.rint(values), -largest, largest).astype(np.int64)


def _damping(own: Array) -> Array:
    mean = float(np.trace(own)) / len(own)
    return np.eye(len(own)) * max(_DAMPING * mean, _NOTHING)


def _shrunk(moments: Array, share: float) -> Array:
    return (1 - share) * moments + share * np.diag(np.diagonal(moments))


def _kept(scales: Array, like: Array) -> Array:
    """Return the scales as the file holds them: float16, if it holds all like these."""
    low, high = float(like.min()) * float(_SHARES[0]), float(like.max()) * _REFITTED
    fits = low >= _SMALLEST_HALF and high <= _LARGEST_HALF
    small = scales.astype(np.float16 if fits else np.float32).astype(np.float32)
    return np.maximum(small, np.float32(_SMALLEST_SCALE))
