"""A model's reference data, and devices that count rows beside it, for tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.binding import Predictions
from edgekit.fleet.drifting.findings import Seen
from edgekit.table import Array
from edgekit.telemetry import reference
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.profile import Profile
from edgekit.telemetry.tally import Tally, answer_table
from tests.core.reports import SHA

COLOURS = np.array(["red", "white", "rose"], object)


def table(
    rows: int, seed: int = 0, *, hue: float = 0.0, rose: float = 0.1
) -> dict[str, Array]:
    """Rows of three columns; `hue` moves one by so many standard deviations."""
    random = np.random.default_rng(seed)
    share = (1 - rose) / 2
    return {
        "alcohol": random.normal(13.0, 0.8, rows),
        "hue": random.gamma(4.0, 0.25, rows) + 0.5 * hue,
        "colour": random.choice(COLOURS, rows, p=[share, share, rose]),
    }


def answers(asked: Mapping[str, Array]) -> Predictions:
    """What a classifier makes of them: hue decides."""
    odds = 1 / (1 + np.exp(-4 * (np.asarray(asked["hue"]) - 1)))
    label = np.where(odds > 0.5, 1, 0)
    return Predictions(prediction=label, probabilities=np.stack([1 - odds, odds], axis=1))


def profile(rows: int = 2_000) -> Profile:
    """The profile of the reference data."""
    asked = table(rows)
    return reference.build(asked, answers(asked), classes=("0", "1"))


def counted(asked: Mapping[str, Array], known: Profile, **changes: Any) -> BundleCounts:  # noqa: ANN401 - any field of it
    """What a device counts of such rows, each a request."""
    rows = len(asked["hue"])
    inputs, outputs = Tally(known.inputs), Tally(known.outputs)
    inputs.add(dict(asked))
    outputs.add(answer_table(answers(asked)))
    fields: dict[str, Any] = {
        "model": "wine",
        "version": "3",
        "flavor": "int8",
        "sha256": SHA,
        "requests": rows,
        "rows": rows,
        "inputs": inputs.take(),
        "outputs": outputs.take(),
        **changes,
    }
    return BundleCounts(**fields)


def seen(
    known: Profile, asked: Mapping[str, Array], *, device: str = "pi-7", day: int = 1
) -> Seen:
    """A day of a device."""
    return Seen(device=device, day=f"2026-03-{day:02}", counts=counted(asked, known))
