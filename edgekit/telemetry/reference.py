"""Build a model's reference profile from rows it was asked, and what it answered.

Knows numpy, no files. Edges are quantiles of the rows, so that each bin holds about a
sixteenth of them. What a column is:

- texts and booleans are categories, the most frequent values first;
- whole numbers of at most 31 distinct values, each of them two times or more on average,
  are codes or classes, so categories: an unseen one shows. Other whole numbers, and all
  others, are numbers;
- a classifier's prediction is a category, whatever its type;
- instants, bytes and nested values are left out: an instant always differs from the
  reference, the others have no bins.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from edgekit.binding import Predictions
from edgekit.table import Array, Table, rows
from edgekit.telemetry.profile import (
    MAX_COLUMNS,
    MAX_EDGES,
    MAX_TEXT_CHARS,
    MAX_VALUES,
    CategoryColumn,
    Column,
    NumberColumn,
    Profile,
)
from edgekit.telemetry.tally import (
    CONFIDENCE,
    LABEL,
    PREDICTION,
    PROBABILITIES,
    Tally,
    answer_table,
    category,
    element_names,
)

_SUM_TOLERANCE = 1e-3  # of a distribution's shares, in float32 and less
_MOST_DIGITS = 17  # of a decimal that is read back as the same float64
_BLUR = 1e-6  # of a number, or of all of them: what float32 and its sums may differ by
_LEAST_REPEATS = 2  # of a whole number on average, to be a category


def build(
    inputs: Table, answers: Predictions, *, classes: Sequence[str], source: str = "samples"
) -> Profile:
    """Return the profile of some rows and the answers to them.

    `inputs` is the table as the schema admits it, `answers` what edgekit.binding.results
    makes of all rows at once, `classes` those of the binding: () for other models. Of
    inputs and outputs the first 256 columns are kept.
    """
    told = answer_table(answers)
    labels = {PREDICTION, *told} - {PROBABILITIES} if classes else set[str]()
    return Profile(
        rows=rows(inputs),
        source=source,
        inputs=_columns(_inputs(inputs), inputs),
        outputs=_columns(_outputs(told, labels), told),
    )


def _columns(found: Iterator[Column], table: Table) -> tuple[Column, ...]:
    """Count the rows as a device will count them: by edgekit.telemetry.tally."""
    columns = [column for column, _ in zip(found, range(MAX_COLUMNS), strict=False)]
    tally = Tally(columns)
    tally.add({name: np.asarray(array) for name, array in table.items()})
    return tuple(
        _counted(column, counts)
        for column, counts in zip(columns, tally.take(), strict=True)
    )


def _counted(column: Column, counts: tuple[int, ...]) -> Column:
    bins, missing = counts[:-1], counts[-1]
    if isinstance(column, NumberColumn):
        return NumberColumn(
            name=column.name, edges=column.edges, counts=bins, missing=missing
        )
    return CategoryColumn(
        name=column.name, values=column.values, counts=bins, missing=missing
    )


def _inputs(table: Table) -> Iterator[Column]:
    for name, array in table.items():
        yield from _parts(name, np.asarray(array), label=False)


def _outputs(table: Table, labels: set[str]) -> Iterator[Column]:
    labelled = any(np.ndim(table[name]) == 1 for name in labels & table.keys())
    for name, array in table.items():
        if name == PROBABILITIES or _is_distribution(array):
            yield _number(name + CONFIDENCE, array.max(axis=1, initial=-np.inf))
            if not (name == PROBABILITIES and labelled):
                yield _category(name + LABEL, array.argmax(axis=1))
        else:
            yield from _parts(name, array, label=name in labels and array.ndim == 1)


def _parts(name: str, array: Array, *, label: bool) -> Iterator[Column]:
    shape = array.shape[1:]
    if not shape or int(np.prod(shape)) == 1:
        yield from _whole(name, array.ravel(), label=label)
        return
    names = element_names(name, shape)
    if not names:
        yield from _whole(name, array.ravel(), label=False)
        return
    flat = array.reshape(len(array), len(names))
    for at, element in enumerate(names):
        yield from _whole(element, flat[:, at], label=False)


def _whole(name: str, values: Array, *, label: bool) -> Iterator[Column]:
    kind: str = values.dtype.kind
    if kind == "O":
        kind = _kind([value for value in values.tolist() if value is not None])
    if kind in "bU" or (label and kind in "iuf") or (kind in "iu" and _is_code(values)):
        yield _category(name, values)
    elif kind in "iuf":
        yield _number(name, values)


def _kind(values: Sequence[object]) -> str:
    """Return the numpy kind of objects that are all of one: "O" where they are not."""
    for kind, types in (("b", bool), ("U", str), ("i", int), ("f", (int, float))):
        if values and all(isinstance(value, types) for value in values):
            return kind
    return "O"


def _is_code(values: Array) -> bool:
    known = [value for value in values.tolist() if value is not None]
    return len(set(known)) <= min(MAX_VALUES, len(known) // _LEAST_REPEATS)


def _is_distribution(array: Array) -> bool:
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind != "f" or not len(array):  # noqa: PLR2004 - [rows, classes]
        return False
    within = bool(((array >= 0) & (array <= 1)).all())
    return within and bool((np.abs(array.sum(axis=1) - 1) <= _SUM_TOLERANCE).all())


def _category(name: str, values: Array) -> CategoryColumn:
    texts = (category(value) for value in values.tolist())
    counted = Counter(t for t in texts if t is not None and len(t) <= MAX_TEXT_CHARS)
    ordered = sorted(counted, key=lambda text: (-counted[text], text))[:MAX_VALUES]
    return CategoryColumn(
        name=name, values=tuple(ordered), counts=(0,) * (len(ordered) + 1), missing=0
    )


def _number(name: str, values: Array) -> NumberColumn:
    known = np.asarray([np.nan if v is None else v for v in values.tolist()], np.float64)
    edges = _edges(known[np.isfinite(known)])
    return NumberColumn(name=name, edges=edges, counts=(0,) * (len(edges) + 1), missing=0)


def _edges(values: Array) -> tuple[float, ...]:
    """Return numbers between the values, at their sixteenths, deduplicated.

    Where one value is several of them (zeros of a counter that rests), it gets a bin of its
    own. No edge is a value, or near one: what a device computes in float32 falls into the
    same bin. Between values that differ by no more than that there is none.
    """
    if not values.size:
        return ()
    ordered = np.sort(values)
    shares = np.arange(1, MAX_EDGES + 1) / (MAX_EDGES + 1)
    cuts = np.quantile(ordered, shares, method="inverted_cdf").tolist()
    scale = cuts[-1] - cuts[0]
    found: set[float] = set()
    for value, times in Counter(cuts).items():
        if times > 1:
            found |= {_beside(ordered, value, way, scale) for way in (-1, 1)}
        elif value < ordered[-1]:
            place = int(ordered.searchsorted(value, "right"))
            found.add(_between(ordered, place, scale))
    return tuple(sorted(edge for edge in found if np.isfinite(edge)))


def _beside(ordered: Array, value: float, way: int, scale: float) -> float:
    """Return a number just below (-1) or above (1) a value, farther than blur is."""
    step = 16 * _blur(value, value, scale)
    place = int(ordered.searchsorted(value, "left" if way < 0 else "right"))
    next_to_it = place - 1 if way < 0 else place
    if 0 <= next_to_it < len(ordered) and abs(ordered[next_to_it] - value) <= 4 * step:
        return _between(ordered, place, scale)
    return _short(value + way * step, step / 2)


def _between(ordered: Array, place: int, scale: float) -> float:
    """Return a number between two neighbours, or the next two that are no blur apart."""
    while 0 < place < len(ordered):
        low, high = float(ordered[place - 1]), float(ordered[place])
        if high - low > 2 * _blur(low, high, scale):
            return _short(low / 2 + high / 2, high / 4 - low / 4)
        place += 1
    end = float(ordered[-1 if place else 0])
    step = 16 * _blur(end, end, scale)
    return _short(end + (step if place else -step), step / 2)


def _short(number: float, most: float) -> float:
    """Return the number of fewest digits that is at most so far away."""
    for digits in range(1, _MOST_DIGITS):
        shorter = float(f"{number:.{digits}g}")
        if abs(shorter - number) <= most:
            return shorter
    return number


def _blur(low: float, high: float, scale: float) -> float:
    return _BLUR * (max(abs(low), abs(high), scale) or 1.0)
