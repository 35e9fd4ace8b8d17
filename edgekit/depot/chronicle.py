"""Tell in the log who wants a bundle, who has it, and what that cost. Knows no schedule.

One round lasts from the first device that asks to the last that is done.
"""

import logging

from edgekit.statement import BundleEntry

logger = logging.getLogger(__name__)

_SHORT = 12  # hexadecimal digits of a digest that people compare
_MB = 1e6


class Chronicle:
    """The rounds of one bundle; `title` is what people call it."""

    def __init__(self, title: str, entry: BundleEntry) -> None:
        self.subject = f"{title} ({entry.sha256[:_SHORT]})"
        self._entry = entry
        self._asking: dict[str, float] = {}  # device -> since when
        self._began = 0.0
        self._finished = 0
        self._sent_bytes = 0

    def asks(self, device: str, missing: int, now: float) -> None:
        """Note a device that asks for chunks; again, without having it, is no news."""
        if device in self._asking:
            return
        if not self._asking:
            self._began, self._finished, self._sent_bytes = now, 0, 0
        self._asking[device] = now
        logger.info(
            "%s: %s asks for %d of %d chunks",
            *(self.subject, device, missing, self._entry.chunks),
        )

    def sent(self, count: int) -> None:
        """Note bytes that were sent to all who ask."""
        self._sent_bytes += count

    def finishes(self, device: str, now: float) -> None:
        """Note a device that has the whole bundle."""
        self._finished += 1
        took_s = now - self._asking.pop(device, now)
        logger.info("%s: %s has it, after %.1f s", self.subject, device, took_s)

    def falls_silent(self, device: str) -> None:
        """Note a device that is not heard of any more."""
        self._asking.pop(device, None)
        logger.info("%s: %s went silent before it had all", self.subject, device)

    def ends(self, now: float) -> None:
        """Note that nobody asks any more."""
        self._asking.clear()
        logger.info(
            "%s: nobody asks any more; %d devices have it, %.1f MB sent in %.1f s,"
            " %.2f times the bundle",
            *(self.subject, self._finished, self._sent_bytes / _MB, now - self._began),
            self._sent_bytes / self._entry.length,
        )
