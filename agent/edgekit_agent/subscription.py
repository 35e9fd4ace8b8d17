"""What a device follows: one registered model in one stage. Knows no file that says so."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A registered model this device serves, and the stage it follows.

    `ram_bytes` and `flash_bytes` are what it may take of the device's limits, None: all.
    `least_agreement` and `most_difference` are what a candidate must keep to, compared with
    what serves, on the last real inputs; None: it is reported only.
    """

    model: str
    stage: str
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    least_agreement: float | None = None
    most_difference: float | None = None
