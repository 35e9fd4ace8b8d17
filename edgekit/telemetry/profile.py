"""profile.json of a bundle: how the reference data fell into bins, column by column.

Knows neither numpy nor the model: JSON bytes in, frozen values out, and back. What a
device counts lies in the same bins, so that counts of any devices and times add up
exactly. Beside it, `reference` builds one, `tally` counts into its bins, `drift`
compares. docs/formats/bundle.md is its page.
"""

import itertools
from dataclasses import dataclass
from typing import TypeAlias

from edgekit.document import Reader, canonical_json
from edgekit.errors import TrustError

FORMAT = 1
MAX_BYTES = 2**20
MAX_COLUMNS = 256  # of inputs, and of outputs
MAX_EDGES = 15
MAX_VALUES = 31
MAX_TEXT_CHARS = 200  # of a category's value; longer ones are among the others
_MAX_NAME_CHARS = 1_000

Histogram: TypeAlias = tuple[int, ...]
"""Values in each bin of a column, and last how many were missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberColumn:
    """Bin i holds edges[i-1] < value <= edges[i]; the first and the last are open.

    `edges` ascend, at most 15; `counts` has one more. NaN and null are `missing`, an
    infinity is in an end bin.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int

    @property
    def bins(self) -> int:
        """How many bins values fall into, the missing aside."""
        return len(self.edges) + 1

    @property
    def histogram(self) -> Histogram:
        """What the reference data came to."""
        return (*self.counts, self.missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryColumn:
    """Bin i holds values[i], the last one whatever is not among the at most 31 values."""

    name: str
    values: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int

    @property
    def bins(self) -> int:
        """How many bins values fall into, the missing aside."""
        return len(self.values) + 1

    @property
    def histogram(self) -> Histogram:
        """What the reference data came to."""
        return (*self.counts, self.missing)


Column: TypeAlias = NumberColumn | CategoryColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a model was asked and answered over `rows` rows of reference data.

    `source` says which data they were: "samples" are those the conversion was judged by.
    """

    rows: int
    source: str
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]

    @classmethod
    def from_json(cls, data: bytes) -> "Profile":
        """Parse, or raise TrustError."""
        if len(data) > MAX_BYTES:
            raise TrustError(f"profile: {len(data)} bytes, up to {MAX_BYTES} are expected")
        reader = Reader.from_json(data, subject="profile", error=TrustError)
        reader.integer("format", least=FORMAT, most=FORMAT)
        return cls(
            rows=reader.integer("rows"),
            source=reader.text("source"),
            inputs=_columns(reader, "inputs"),
            outputs=_columns(reader, "outputs"),
        )

    def to_json(self) -> bytes:
        """Encode canonically: equal profiles give equal bytes."""
        return canonical_json(
            {
                "format": FORMAT,
                "rows": self.rows,
                "source": self.source,
                "inputs": [_document(column) for column in self.inputs],
                "outputs": [_document(column) for column in self.outputs],
            }
        )


def _document(column: Column) -> dict[str, object]:
    told: dict[str, object] = {
        "name": column.name,
        "counts": list(column.counts),
        "missing": column.missing,
    }
    match column:
        case NumberColumn(edges=edges):
            return {**told, "kind": "number", "edges": list(edges)}
        case CategoryColumn(values=values):
            return {**told, "kind": "category", "values": list(values)}


def _columns(reader: Reader, key: str) -> tuple[Column, ...]:
    entries = reader.children(key)
    if len(entries) > MAX_COLUMNS:
        reader.fail(key, f"a list of up to {MAX_COLUMNS} columns")
    columns = tuple(map(_column, entries))
    if len({column.name for column in columns}) < len(columns):
        reader.fail(key, "each column once")
    return columns


def _column(reader: Reader) -> Column:
    name = reader.text("name")
    if len(name) > _MAX_NAME_CHARS:
        reader.fail("name", f"a text of up to {_MAX_NAME_CHARS} characters")
    kind = reader.text("kind")
    if kind not in ("number", "category"):
        reader.fail("kind", "number or category")
    if kind == "number":
        edges = _edges(reader)
        return NumberColumn(
            name=name,
            edges=edges,
            counts=_counts(reader, len(edges) + 1),
            missing=reader.integer("missing"),
        )
    values = _values(reader)
    return CategoryColumn(
        name=name,
        values=values,
        counts=_counts(reader, len(values) + 1),
        missing=reader.integer("missing"),
    )


def _edges(reader: Reader) -> tuple[float, ...]:
    value = reader.table.get("edges")
    if not isinstance(value, list) or len(value) > MAX_EDGES:
        reader.fail("edges", f"a list of up to {MAX_EDGES} numbers")
    listed = Reader(
        table={str(at): edge for at, edge in enumerate(value)},
        subject=f"{reader.subject}: edges",
        error=reader.error,
    )
    edges = tuple(listed.number(at) for at in listed.table)
    if any(after <= before for before, after in itertools.pairwise(edges)):
        reader.fail("edges", "a list of ascending numbers")
    return edges


def _values(reader: Reader) -> tuple[str, ...]:
    values = reader.texts("values")
    if len(values) > MAX_VALUES or any(len(v) > MAX_TEXT_CHARS for v in values):
        reader.fail(
            "values", f"a list of up to {MAX_VALUES} texts of {MAX_TEXT_CHARS} characters"
        )
    if len(set(values)) < len(values):
        reader.fail("values", "each value once")
    return values


def _counts(reader: Reader, bins: int) -> tuple[int, ...]:
    value = reader.table.get("counts")
    if not isinstance(value, list) or len(value) != bins:
        reader.fail("counts", f"a list of {bins} whole numbers")
    listed = Reader(
        table={str(at): count for at, count in enumerate(value)},
        subject=f"{reader.subject}: counts",
        error=reader.error,
    )
    return tuple(listed.integer(at) for at in listed.table)
