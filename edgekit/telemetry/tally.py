"""Count the values of tables into the bins of a profile. Knows numpy, no model.

It lies on the path of every request: a row of 20 columns takes a few microseconds, one
value after the other; many rows are counted a column at a time.

A table's entry [rows] is one column of the profile. An entry [rows, ...] is one column for
each element ("x[3]", "x[0,1]"), or all its elements in one column when they are more than
64. Of a distribution over classes, [rows, classes] with a sum of 1, the largest share and
where it is are columns ("p.confidence", "p.label").
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgekit.binding import Predictions
from edgekit.table import Array, Table
from edgekit.telemetry.profile import Column, Histogram, NumberColumn

MAX_ELEMENTS = 64  # of a row, to be columns of their own
LABEL, CONFIDENCE = ".label", ".confidence"
PREDICTION, PROBABILITIES, SCORE = "prediction", "probabilities", "score"
_FEW = 8  # values, up to which one after the other is faster


class Tally:
    """The counts of some columns. One thread uses it at a time."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(_counter(column) for column in columns)
        self._by_name = {
            column.name: counter
            for column, counter in zip(columns, self._columns, strict=True)
        }
        self._plans: dict[tuple[str, tuple[int, ...]], _Add] = {}

    def add(self, table: Table) -> None:
        """Count every value of a table; what the profile does not know is passed over."""
        by_name = self._by_name
        for name, array in table.items():
            if array.ndim == 1:  # most tables by far: spare them what tensors need
                if name in by_name:
                    by_name[name].add(array)
                continue
            key = (name, array.shape[1:])
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = self._plan(name, array.shape[1:])
            plan(array)

    def take(self) -> tuple[Histogram, ...]:
        """Return the counts in the order of the columns, and begin anew."""
        return tuple(counter.take() for counter in self._columns)

    def _plan(self, name: str, shape: tuple[int, ...]) -> "_Add":
        whole = self._by_name.get(name)
        if whole is not None:
            return whole.add
        shares = self._by_name.get(name + CONFIDENCE)
        if shares is not None and len(shape) == 1:
            return _distribution(shares, self._by_name.get(name + LABEL))
        counters = tuple(self._by_name.get(one) for one in element_names(name, shape))
        if not any(counters):
            return _pass_over
        return _elements(counters)


def element_names(name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the columns that the elements of a row are, () where they are too many."""
    if not shape or int(np.prod(shape)) > MAX_ELEMENTS:
        return ()
    return tuple(f"{name}[{','.join(map(str, at))}]" for at in np.ndindex(*shape))


def answer_table(answers: Predictions) -> dict[str, Array]:
    """Return what a model answered by the names that columns of outputs begin with."""
    found = answers.prediction
    table = dict(found) if isinstance(found, dict) else {PREDICTION: found}
    for name, array in ((PROBABILITIES, answers.probabilities), (SCORE, answers.score)):
        if array is not None:
            table.setdefault(name, array)
    return table


def category(value: object) -> str | None:
    """Return a value as the text that categories go by, None where it is missing.

    Whole numbers are the same text whatever their type: class 1.0 is class 1.
    """
    if value is None:
        return None
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124 - NaN, and faster than asking math
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


_Add = Callable[[Array], None]


class _Numbers:
    """Counts a column of numbers."""

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = list(edges)
        self._array = np.array(self._edges, np.float64)
        self._counts = [0] * (len(edges) + 2)

    def add(self, array: Array) -> None:
        if array.size == 1:
            self.add_one(array.item())
        elif array.size > _FEW:
            self._add_many(array)
        else:
            for value in array.ravel().tolist():
                self.add_one(value)

    def add_one(self, value: Any) -> None:  # noqa: ANN401 - whatever a table holds
        try:
            # A NaN is in no order: it is found before the search, which would put it last.
            place = bisect_left(self._edges, value) if value == value else -1  # noqa: PLR0124
        except (TypeError, ValueError):  # None, a text, a list where numbers were
            place = -1
        self._counts[place] += 1

    def _add_many(self, array: Array) -> None:
        try:
            values = array.ravel().astype(np.float64, copy=False)
        except (TypeError, ValueError, OverflowError):
            for value in array.ravel().tolist():
                self.add_one(value)
            return
        known = values[~np.isnan(values)]
        places = np.searchsorted(self._array, known, side="left")
        found = np.bincount(places, minlength=len(self._counts) - 1).tolist()
        for place, count in enumerate(found):
            self._counts[place] += count
        self._counts[-1] += values.size - known.size

    def take(self) -> Histogram:
        taken = tuple(self._counts)
        self._counts = [0] * len(taken)
        return taken


class _Categories:
    """Counts a column of categories."""

    def __init__(self, values: Sequence[str]) -> None:
        self._places = {value: place for place, value in enumerate(values)}
        self._counts = [0] * (len(values) + 2)

    def add(self, array: Array) -> None:
        if array.size == 1:
            self.add_one(array.item())
            return
        for value in array.ravel().tolist():
            self.add_one(value)

    def add_one(self, value: Any) -> None:  # noqa: ANN401 - whatever a table holds
        text = category(value)
        place = -1 if text is None else self._places.get(text, len(self._places))
        self._counts[place] += 1

    def take(self) -> Histogram:
        taken = tuple(self._counts)
        self._counts = [0] * len(taken)
        return taken


_Counter = _Numbers | _Categories


def _counter(column: Column) -> _Counter:
    if isinstance(column, NumberColumn):
        return _Numbers(column.edges)
    return _Categories(column.values)


def _elements(counters: Sequence[_Counter | None]) -> _Add:
    def add(array: Array) -> None:
        flat = array.reshape(len(array), len(counters))
        for at, counter in enumerate(counters):
            if counter is not None:
                counter.add(flat[:, at])

    return add


def _distribution(shares: _Counter, labels: _Counter | None) -> _Add:
    def add(array: Array) -> None:
        if array.size:
            shares.add(array.max(axis=1))
            if labels is not None:
                labels.add(array.argmax(axis=1))

    return add


def _pass_over(_array: Array) -> None:
    """Count nothing: the profile has no such column."""
