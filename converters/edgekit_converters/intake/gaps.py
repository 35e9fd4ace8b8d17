"""Cells of the samples that hold no finite number: missing, or infinite. Pure.

Some models answer such rows, others refuse them; either way a person must be told where
they are. Texts have no such cells: a missing one is refused when samples are read.
"""

from dataclasses import dataclass

import numpy as np

from edgekit.table import Array, Table, rows

_SHOWN = 4  # columns that a sentence names


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The rows with such cells: numbers, ascending; and the columns they lie in.

    `missing` and `infinite` count rows; `first` is the first of them and its column.
    """

    numbers: Array
    missing: int
    infinite: int
    columns: tuple[str, ...]
    first: tuple[int, str]

    @property
    def sentence(self) -> str:
        """Say how many, of what kind and where; "3 rows hold missing values (age)"."""
        kinds = [
            f"{count:,} {'row holds' if count == 1 else 'rows hold'} {what}"
            for count, what in (
                (self.missing, "missing values"),
                (self.infinite, "infinite numbers"),
            )
            if count
        ]
        more = f" and {len(self.columns) - _SHOWN} more" if self.columns[_SHOWN:] else ""
        return f"{' and '.join(kinds)} ({', '.join(self.columns[:_SHOWN])}{more})"


def find(table: Table) -> Gaps | None:
    """Return the rows of a table, or of tensors, with such cells; None without any."""
    number = rows(table)
    missing, infinite = np.zeros(number, bool), np.zeros(number, bool)
    columns: list[str] = []
    first: tuple[int, str] | None = None
    for name, values in table.items():
        if values.dtype.kind != "f":
            continue
        flat = values.reshape(number, -1)
        for place in np.flatnonzero(~np.isfinite(flat).all(axis=0)).tolist():
            cells = flat[:, place]
            missing |= np.isnan(cells)
            infinite |= np.isinf(cells)
            columns.append(_named(name, place, flat.shape[1]))
            here = (int(np.argmax(~np.isfinite(cells))), columns[-1])
            first = here if first is None else min(first, here)
    if first is None:
        return None
    return Gaps(
        numbers=np.flatnonzero(missing | infinite),
        missing=int(missing.sum()),
        infinite=int(infinite.sum()),
        columns=tuple(columns),
        first=first,
    )


def hint(table: Table) -> str:
    """Return a clause for a model that fails on a table; "" where there are no gaps."""
    found = find(table)
    if found is None:
        return ""
    row, column = found.first
    return (
        f"; {found.sentence}, the first is row {row}, column {column}: fill them in or"
        " leave them out"
    )


def _named(name: str, place: int, width: int) -> str:
    if width == 1:
        return name or "(unnamed)"
    return f"{name}[{place}]"
