"""Know which devices have asked for anything since the depot began. Knows no bundle.

Whoever is the first to want a bundle waits for others to join, since a chunk is sent once
for all of them. Where all are there already, there is nobody to wait for.
"""

from collections.abc import Container


class Company:
    """Up to `most` devices; beyond that somebody may always be missing."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._names: set[str] = set()
        self._is_known = False

    def hear(self, device: str, *, done: bool) -> None:
        """Note a device that asks, or is done with what it had asked for."""
        self._is_known = self._is_known or done
        if len(self._names) <= self._most:
            self._names.add(device)

    def is_within(self, devices: Container[str]) -> bool:
        """Whether all are among `devices`; a depot that has served nobody cannot tell."""
        few = len(self._names) <= self._most
        return self._is_known and few and all(name in devices for name in self._names)
