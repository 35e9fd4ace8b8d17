"""Say how flavors answer rows with missing or infinite cells. Pure; judges nothing.

The gate looks at all rows together, where a few of these would be lost.
"""

from collections.abc import Sequence

import numpy as np

from edgekit.binding import Predictions
from edgekit.table import Array, Table, rows
from edgekit_converters.intake import gaps
from edgekit_converters.verdict import answers
from edgekit_converters.verdict.answers import Reading
from edgekit_converters.verdict.compare import CLOSE, spread
from edgekit_converters.verdict.exam import Exam


def sentence(table: Table, exam: Exam, flavors: Sequence[tuple[str, Predictions]]) -> str:
    """Return a note about the rows of `table`, "" where none has such a cell.

    `exam` is on all rows of it; `flavors` are names with answers to all of them.
    """
    found = gaps.find(table)
    if found is None:
        return ""
    told = f"samples: of {rows(table):,} rows, {found.sentence}"
    if not flavors:
        return told
    apart = [
        (name, int((~_alike(exam, predictions))[found.numbers].sum()))
        for name, predictions in flavors
    ]
    other = ", ".join(f"{name} answers {count} otherwise" for name, count in apart if count)
    alike = ", ".join(name for name, count in apart if not count)
    if not other:
        return f"{told}; every flavor that was kept answers them as the original does"
    return f"{told}; {other}" + (f"; {alike} as the original does" if alike else "")


def _alike(exam: Exam, predictions: Predictions) -> Array:
    """Return which rows, [rows], have the original's label, or nearly its numbers."""
    if exam.reading is not Reading.NUMBER:
        same: Array = exam.labels_of(predictions) == exam.labels_of(exam.original)
        return same
    before = answers.columns(exam.original).astype(float)
    after = answers.columns(predictions).astype(float)
    near: Array = (np.abs(after - before) <= CLOSE * spread(before)).all(axis=1)
    return near
