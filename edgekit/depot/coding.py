"""Choose the chunks that go out together, as their XOR. Knows no devices by name.

A device has the one chunk it lacks of such a mixture at once, verified by its own digest:
nothing is collected, nothing unverified is kept. A mixture is of use to a device that
lacks exactly one of its chunks, so what is mixed is what different devices lack. The
choice is greedy; measured, a hundred devices that lose 5 % each are repaired with 1.1 to
1.25 times the bundle, where repeating chunks takes 2.2 (docs/adr/0023).
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.wire import MAX_MIXED


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """The chunks that one device lacks, as a bit mask, and whether it takes mixtures."""

    chunks: int
    coded: bool


def mixture(first: int, lacks: Sequence[Lack]) -> tuple[int, ...]:
    """Return the chunks to mix with chunk `first`, itself included, ascending.

    `first` alone: it is to be sent as it is.
    """
    bit = 1 << first
    asking = [lack for lack in lacks if lack.chunks & bit]
    if 2 * len(asking) > len(lacks) or not any(lack.coded for lack in asking):
        return (first,)
    crowd = _Crowd(lacks)
    plain = sum(crowd.weight(lack) for lack in asking)
    # A newcomer loses by whatever is added: what serves the others is sought without it.
    mixtures = (crowd.mix(first, newcomers=True), crowd.mix(first, newcomers=False))
    chosen, served = max(mixtures, key=lambda found: found[1])
    return tuple(sorted(chosen)) if served > plain else (first,)


class _Crowd:
    """The devices, weighed: who lacks most is done last, so its chunks go first.

    One that lacks more than twice what is usual has only joined, and weighs as much as
    four of the others: they are not to wait for it.
    """

    def __init__(self, lacks: Sequence[Lack]) -> None:
        counts = [lack.chunks.bit_count() for lack in lacks]
        self._most = 2 * int(statistics.median_low(counts))
        self._coded = [lack for lack in lacks if lack.coded]
        self._who: dict[int, list[int]] = {}  # chunk -> devices that lack it
        for device, lack in enumerate(self._coded):
            for number in _bits(lack.chunks):
                self._who.setdefault(number, []).append(device)
        self._weights = [self.weight(lack) for lack in self._coded]
        gain = {n: self._sum(devices) for n, devices in self._who.items()}
        self._order = sorted(gain, key=lambda n: (-gain[n], n))

    def weight(self, lack: Lack) -> int:
        """Return what it counts to serve a device."""
        return min(lack.chunks.bit_count(), self._most) ** 2

    def mix(self, first: int, *, newcomers: bool) -> tuple[set[int], int]:
        """Return what to mix with `first`, and the weight of the devices it serves."""
        lacked = [0] * len(self._coded)  # how many of the chosen a device lacks
        if not newcomers:
            lacked = [2 * (k.chunks.bit_count() > self._most) for k in self._coded]
        chosen, served = set[int](), 0
        for number in (first, *self._order):
            who = self._who[number]
            more = self._sum(d for d in who if lacked[d] == 0)
            more -= self._sum(d for d in who if lacked[d] == 1)
            if number not in chosen and (more > 0 or number == first):
                chosen.add(number)
                served += more
                for device in who:
                    lacked[device] += 1
            if len(chosen) == MAX_MIXED:
                break
        return chosen, served

    def _sum(self, devices: Iterable[int]) -> int:
        return sum(self._weights[device] for device in devices)


def _bits(mask: int) -> list[int]:
    """Return the numbers of the bits that are set."""
    return [n for n, bit in enumerate(reversed(f"{mask:b}")) if bit == "1"]
