"""Run a session over many rows, a few at a time. Knows no model and no measure."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from edgekit.errors import ProofError
from edgekit.runtime import Session
from edgekit.table import Array, rows, take

BATCH_ROWS = 64


def _never() -> bool:
    return False


def batches(
    session: Session, feeds: Mapping[str, Array], most_rows: int = BATCH_ROWS
) -> Iterator[dict[str, Array]]:
    """Yield all rows in order; the last one is repeated where a graph's size is fixed."""
    fixed = fixed_rows(session)
    total = rows(feeds)
    for start in range(0, total, fixed or most_rows):
        numbers = range(start, start + fixed if fixed else min(start + most_rows, total))
        yield take(feeds, [min(number, total - 1) for number in numbers])


class StoppedError(Exception):
    """There was no time to run all rows; caught where `stop` comes from."""


def run(
    session: Session, feeds: Mapping[str, Array], *, stop: Callable[[], bool] = _never
) -> dict[str, Array]:
    """Return every output for all rows; ProofError when the graph fails on some.

    StoppedError as soon as `stop` says so, which is asked before each batch.
    """
    total = rows(feeds)
    parts: list[dict[str, Array]] = []
    for batch in batches(session, feeds):
        if stop():
            raise StoppedError
        parts.append(session.run(batch))
    return {
        name: _joined(name, [np.atleast_1d(part[name]) for part in parts], total)
        for name in parts[0]
    }


def _joined(name: str, parts: Sequence[Array], total: int) -> Array:
    """Return all rows of a value; inner ones may hold them in another than the first axis.

    Where all batches are alike that cannot be told, and the first is taken.
    """
    shapes = [part.shape for part in parts]
    sizes = enumerate(zip(*shapes, strict=True))
    differing = [axis for axis, along in sizes if len(set(along)) > 1]
    if len(differing) > 1:
        raise ProofError(f"{name}: several of its dimensions change with the rows")
    axis = differing[0] if differing else 0
    whole = np.concatenate(parts, axis=axis)
    kept: Array = whole[(slice(None),) * axis + (slice(total),)]
    return kept


def fixed_rows(session: Session) -> int:
    """Return the only number of rows that the graph takes, or 0 where any goes."""
    first = [shape[0] for _, _, shape in session.inputs if shape]
    return next((size for size in first if isinstance(size, int)), 0)
