"""Decide which of several depots serves a bundle. Knows no sockets, files or clock.

Each depot that is there says so on a topic of its own; who serves a bundle follows from
the names alone (rendezvous hashing), so that nobody has to agree. A depot that only looks
alive is noticed by what it does not do: a device that asks again and again without having
got anything moves its bundle to the next.
"""

import hashlib
from dataclasses import dataclass

from edgekit.wire import Want

_MOST_ASKING = 10_000  # devices and bundles watched at once
PATIENCE_S = 30.0  # a device gets nothing for so long: who should serve it is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """What a device missed when it last got something, and since when."""

    missing: frozenset[int]
    since: float


class Peers:
    """The depots of one fleet, as far as the depot `name` has heard of them."""

    def __init__(self, name: str, *, patience_s: float = PATIENCE_S) -> None:
        self.name = name
        self._patience_s = patience_s
        self._names = {name}
        self._asking: dict[tuple[str, str], _Asking] = {}

    @property
    def names(self) -> frozenset[str]:
        """The depots that are there, itself included."""
        return frozenset(self._names)

    def note(self, name: str, *, there: bool) -> bool:
        """Take in that a depot is there, or gone; return whether that is news."""
        if name == self.name or there == (name in self._names):
            return False
        if there:
            self._names.add(name)
        else:
            self._names.discard(name)
        return True

    def serves(self, sha256: str) -> bool:
        """Whether this depot is the one that serves a bundle."""
        return self._first(sha256) == self.name

    def asks(self, device: str, want: Want, now: float) -> str | None:
        """Watch a want that another depot is to serve.

        Returns the name of that depot when it is to be taken for gone, which it then is.
        """
        asking = device, want.sha256
        before = self._asking.get(asking)
        if not want.missing or before is None or before.missing != want.missing:
            self._asking.pop(asking, None)
            if want.missing and len(self._asking) < _MOST_ASKING:
                self._asking[asking] = _Asking(missing=want.missing, since=now)
            return None
        if now - before.since < self._patience_s:
            return None
        silent = self._first(want.sha256)
        self._names.discard(silent)
        self._asking.clear()
        return silent

    def forget_silent(self, now: float) -> None:
        """Watch no longer who has asked for nothing more in ten times the patience."""
        old = now - 10 * self._patience_s
        for asking in [a for a, about in self._asking.items() if about.since < old]:
            del self._asking[asking]

    def _first(self, sha256: str) -> str:
        return max(
            self._names,
            key=lambda name: hashlib.sha256(f"{name}/{sha256}".encode()).digest(),
        )
