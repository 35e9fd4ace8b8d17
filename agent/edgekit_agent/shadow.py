"""Compare a candidate with what the champion answered to the last real inputs.

The champion's answers were kept when it gave them (edgekit_agent.service.recent), so it is
not run again, and both are never in memory at once for this. Knows numpy, no runtime.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit import golden
from edgekit.errors import ProofError, SchemaError, TrustError
from edgekit.golden import Golden
from edgekit.table import Array, Table, rows

LEAST_ROWS = 20  # fewer tell nothing: they are reported, not judged
BUDGET_S = 10.0
_GLANCE_S = 0.05

Outputs = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is expected of a candidate: None where nothing is.

    `least_agreement` is a share of rows (0 to 1) with the champion's labels,
    `most_difference` what any number may differ by, in the unit of the model's output.
    """

    least_agreement: float | None = None
    most_difference: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What came of it.

    `agreed` rows have the same labels, and numbers where the champion has some; `failed`
    rows got no answer, or one of another shape; `difference` is None without numbers.
    """

    rows: int
    agreed: int
    failed: int
    difference: float | None
    labels: bool

    @property
    def share(self) -> float:
        """The share of rows that agree."""
        return self.agreed / self.rows if self.rows else 1.0

    def judge(self, terms: Terms) -> None:
        """Raise ProofError where the candidate is further off than is allowed."""
        if self.rows < LEAST_ROWS:
            return
        allowed = terms.least_agreement
        if allowed is not None and self.share < allowed:
            what = "have the champion's label" if self.labels else "are answered alike"
            failed = f", {self.failed} got no answer" if self.failed else ""
            raise ProofError(
                f"shadow: {self.agreed} of the last {self.rows} real rows"
                f" ({self.share:.1%}) {what}{failed}; {allowed:.1%} is expected"
            )
        most = terms.most_difference
        if most is not None and self.difference is not None and self.difference > most:
            raise ProofError(
                f"shadow: a number differs from the champion's by {self.difference:.6g} on"
                f" the last {self.rows} real rows; up to {most:g} is expected"
            )

    def to_table(self) -> dict[str, object]:
        """Return the JSON object."""
        return {
            "rows": self.rows,
            "agreed": self.agreed,
            "failed": self.failed,
            "difference": self.difference,
            "labels": self.labels,
        }


def read(path: Path, wait_s: float) -> list[Golden]:
    """Take the worker's file of recent requests away; none where it does not come."""
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            data = path.read_bytes()
            break
        except OSError:
            if time.monotonic() >= deadline_s:
                return []
            time.sleep(_GLANCE_S)
    path.unlink(missing_ok=True)
    try:
        return [golden.decode(line) for line in data.splitlines()]
    except TrustError:  # half a line of a worker that died: as good as none
        return []


def compare(
    asked: Iterable[Golden], answer: Callable[[Table], Outputs], *, classes: bool
) -> Agreement:
    """Return how far a candidate's answers are from the champion's.

    `classes`: its float outputs are labels, too. It ends after `BUDGET_S`, with the rows
    that were compared by then.
    """
    ends_s = time.monotonic() + BUDGET_S
    total = failed = 0
    compared: list[_Compared] = []
    for one in asked:
        if time.monotonic() > ends_s:
            break
        total += rows(one.inputs)
        try:
            compared.append(_compared(one.outputs, answer(one.inputs), classes=classes))
        except (ProofError, SchemaError, KeyError, ValueError):
            failed += rows(one.inputs)
    apart = [one.apart for one in compared if one.apart is not None]
    return Agreement(
        rows=total,
        agreed=sum(one.agreed for one in compared),
        failed=failed,
        difference=max(apart, default=None),
        labels=any(one.labels for one in compared),
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """One request: rows that agree, how far numbers are apart, whether there are labels."""

    agreed: int
    apart: float | None
    labels: bool


def _compared(want: Outputs, got: Outputs, *, classes: bool) -> _Compared:
    """Compare all outputs; KeyError or ValueError for an absent or misshapen one."""
    alike: list[Array] = []
    apart: float | None = None
    labels = False
    for name, champions in want.items():
        old, new = np.asarray(champions), np.asarray(got[name])
        if old.shape != new.shape:
            raise ValueError(f"output {name}: shape {new.shape} instead of {old.shape}")
        if classes or old.dtype.kind != "f" or new.dtype.kind != "f":
            labels = True
            alike.append(_by_row(old == new))
        else:
            alike.append(_by_row(np.isfinite(old) == np.isfinite(new)))
            apart = max(apart or 0.0, _apart(old, new))
    agreed = int(np.logical_and.reduce(alike).sum()) if alike else 0
    return _Compared(agreed, apart, labels)


def _apart(old: Array, new: Array) -> float:
    """Return the largest difference of numbers that both have."""
    both = np.isfinite(old) & np.isfinite(new)
    apart = np.abs(new[both].astype(np.float64) - old[both].astype(np.float64))
    return float(np.max(apart, initial=0.0))


def _by_row(same: object) -> Array:
    cells = np.asarray(same)
    return np.asarray(cells.reshape(cells.shape[0], -1).all(axis=1))
