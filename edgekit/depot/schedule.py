"""Decide which chunk of one blob is sent next, for all devices that want it at once.

Knows no sockets, files or clock: wants go in, the next sending comes out, time is an
argument. Every chunk reaches every subscriber, so that:

- what is sent counts as in flight to every device until the device's next report covers
  it; a request for what is in flight is not answered again (no echo, no request storm);
- the next chunk is the next one in turn that a device with room lacks: late joiners get
  what they missed on the next lap, and do not restart the others;
- half of the devices that lack something must have room in their window, so that neither
  one slow device nor one fast one sets the pace of all;
- what a device passed over (sent before the last chunk it processed, still missing) was
  lost, and is eligible again; what it does not report on at all is in flight until
  patience with it ends, which begins when it was sent.
"""

import itertools
from collections import deque
from dataclasses import dataclass

from edgekit.wire import Want, pack_bits

_HISTORY = 4096  # sendings remembered: far more than any window


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRules:
    """The timers and bounds of a schedule."""

    gather_s: float = 0.2  # the first want of an idle blob waits for others to join
    patience_s: float = 2.0  # without progress for so long, what is in flight was lost
    most_patience_s: float = 60.0
    quiet_s: float = 10.0  # unheard for so long, a device holds nobody up
    forget_s: float = 120.0
    max_window: int = 256
    most_devices: int = 10_000  # at once; more wait until some are done


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Chunk `number` goes out, as the `sequence`-th sending of its blob."""

    sequence: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """What was sent, and when. Its sequence follows from its place."""

    number: int
    at: float


@dataclass(slots=True, kw_only=True)
class _Receiver:
    """What is known of one device. Chunk sets are bit masks."""

    missing: int
    eligible: int  # missing, and not in flight
    reported: int  # the last of our sendings that it said it processed; 0: none yet
    settled: int  # what was sent up to here is not in flight to it any more
    window: int
    heard_at: float
    waiting_since: float  # what is in flight to it has made no progress since
    patience_s: float
    pace_s: float = 0.0  # how long it takes to make progress


class Schedule:
    """The sendings of one blob of `chunks` chunks, since `epoch` was drawn."""

    def __init__(
        self, *, chunks: int, epoch: int, rules: ScheduleRules | None = None
    ) -> None:
        self.chunks = chunks
        self.epoch = epoch
        self.sequence = 0
        self._rules = rules or ScheduleRules()
        self._receivers: dict[str, _Receiver] = {}
        self._sent: deque[_Sent] = deque(maxlen=_HISTORY)
        self._cursor = 0
        self._start_at = 0.0

    @property
    def devices(self) -> frozenset[str]:
        """The devices that lack something, as far as they are heard of."""
        return frozenset(self._receivers)

    def serves(self, device: str) -> bool:
        """Whether a device is among those that lack something."""
        return device in self._receivers

    def hear(self, device: str, want: Want, now: float) -> None:
        """Take a device's report in; a want that misses nothing is its goodbye."""
        missing = int.from_bytes(pack_bits(want.missing, self.chunks), "little")
        if not missing:
            self._receivers.pop(device, None)
            return
        receiver = self._receivers.get(device)
        if receiver is None:
            if len(self._receivers) < self._rules.most_devices:
                self._join(device, want, missing, now)
            return
        receiver.heard_at = now
        receiver.window = self._window(want)
        reported = self._reported(want)
        if 0 < reported < receiver.reported:
            return  # an older report, delivered late or twice
        if reported > receiver.reported:
            self._note_progress(receiver, reported, now)
        else:
            lost = self._lost_up_to(receiver, reported, now)
            if lost > receiver.settled:
                self._give_up(receiver, lost, now)
            receiver.reported = reported
        receiver.missing = missing
        receiver.eligible = missing & ~self._in_flight(receiver)

    def next(self, now: float) -> Sending | None:
        """Return what to send now, or None when every device has to report first."""
        if now < self._start_at:
            return None
        hungry = [r for r in self._receivers.values() if r.eligible and self._near(r, now)]
        ready = [r for r in hungry if self.sequence - r.settled < r.window]
        if not ready or 2 * len(ready) < len(hungry):
            return None
        lacking = 0
        for receiver in ready:
            lacking |= receiver.eligible
        return self._send(_next_bit(lacking, self._cursor), now)

    def wait_s(self, now: float) -> float | None:
        """Return how long next() stays None unless somebody is heard; None: for ever."""
        return self._start_at - now if now < self._start_at else None

    def forget_silent(self, now: float) -> frozenset[str]:
        """Forget the devices not heard of for long, and return them."""
        silent = frozenset(
            device
            for device, receiver in self._receivers.items()
            if now - receiver.heard_at > self._rules.forget_s
        )
        for device in silent:
            del self._receivers[device]
        return silent

    def _join(self, device: str, want: Want, missing: int, now: float) -> None:
        if not any(self._near(receiver, now) for receiver in self._receivers.values()):
            self._start_at = now + self._rules.gather_s
        self._receivers[device] = _Receiver(
            missing=missing,
            eligible=missing,
            reported=self._reported(want),
            settled=self.sequence,
            window=self._window(want),
            heard_at=now,
            waiting_since=now,
            patience_s=self._rules.patience_s,
        )

    def _note_progress(self, receiver: _Receiver, sequence: int, now: float) -> None:
        # A slow link always makes us wait, a lossy one only sometimes: the pace follows
        # short waits at once and long ones slowly, so that loss does not pass for it.
        waited_s = now - receiver.waiting_since
        receiver.pace_s = min(waited_s, 1.5 * receiver.pace_s + 0.1)
        receiver.patience_s = min(
            max(self._rules.patience_s, 4 * receiver.pace_s, receiver.patience_s / 2),
            self._rules.most_patience_s,
        )
        receiver.reported = sequence
        receiver.settled = max(receiver.settled, sequence)
        receiver.waiting_since = now

    def _lost_up_to(self, receiver: _Receiver, reported: int, now: float) -> int:
        """Return up to which sending all in flight to a device must have been lost."""
        if receiver.reported > 0 and reported == 0:
            return self.sequence  # a new session: what was on its way went with the old
        if now - receiver.waiting_since < receiver.patience_s:
            return 0
        recent = itertools.takewhile(
            lambda sent: now - sent.at < receiver.patience_s, reversed(self._sent)
        )
        return self.sequence - sum(1 for _ in recent)

    def _give_up(self, receiver: _Receiver, sequence: int, now: float) -> None:
        receiver.patience_s = min(2 * receiver.patience_s, self._rules.most_patience_s)
        receiver.settled = sequence
        receiver.waiting_since = now

    def _reported(self, want: Want) -> int:
        """Return the last of our sendings that a want reports as processed, or 0."""
        ours = want.epoch == self.epoch and want.last_sequence <= self.sequence
        return want.last_sequence if ours else 0

    def _send(self, number: int, now: float) -> Sending:
        for receiver in self._receivers.values():
            if receiver.settled == self.sequence:
                receiver.waiting_since = now
            receiver.eligible &= ~(1 << number)
        self.sequence += 1
        self._sent.append(_Sent(number=number, at=now))
        self._cursor = number + 1
        return Sending(sequence=self.sequence, number=number)

    def _in_flight(self, receiver: _Receiver) -> int:
        count = self.sequence - receiver.settled
        mask = 0
        for sent in itertools.islice(reversed(self._sent), count):
            mask |= 1 << sent.number
        return mask

    def _window(self, want: Want) -> int:
        return min(want.window, self._rules.max_window)

    def _near(self, receiver: _Receiver, now: float) -> bool:
        return now - receiver.heard_at <= self._rules.quiet_s


def _next_bit(mask: int, start: int) -> int:
    """Return the lowest set bit from `start` on, or else the lowest of all."""
    later = mask >> start
    if later:
        return start + (later & -later).bit_length() - 1
    return (mask & -mask).bit_length() - 1
