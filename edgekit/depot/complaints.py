"""Keep a log readable while the same complaint comes a thousand times. Knows no clock."""

EVERY_S = 60.0


class Complaints:
    """Says the first complaint at once, and what was held back with the next, later."""

    def __init__(self) -> None:
        self._quiet_until: float | None = None
        self._held_back = 0

    def due(self, now: float) -> str | None:
        """Take one complaint in; return what to add when it is to be said, else None."""
        if self._quiet_until is not None and now < self._quiet_until:
            self._held_back += 1
            return None
        held_back, self._held_back = self._held_back, 0
        self._quiet_until = now + EVERY_S
        return f" ({held_back} more since the last such line)" if held_back else ""
