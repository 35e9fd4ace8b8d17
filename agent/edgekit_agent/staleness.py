"""What a device does when signatures have expired, or its clock says so. Pure.

The model that serves was rightly signed when it came; what is no longer known is whether
the fleet has said something newer since. The operator chooses what follows.
"""

from enum import StrEnum


class Staleness(StrEnum):
    """The policy of one device; in each case it says that it is stale.

    refuse  serve on, and take nothing new until signatures are fresh again
    accept  serve on, and take what is rightly signed and newer: signed times alone are
            believed, not the clock; a freeze goes unnoticed for longer
    stop    answer no request until signatures are fresh again
    """

    REFUSE = "refuse"
    ACCEPT = "accept"
    STOP = "stop"

    @property
    def believes_clock(self) -> bool:
        """Whether the device's clock has a say in what has expired."""
        return self is not Staleness.ACCEPT

    def may_serve(self, *, stale: bool) -> bool:
        """Whether requests are answered."""
        return not (stale and self is Staleness.STOP)
