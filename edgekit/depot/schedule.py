"""Decide which chunk of one blob is sent next, for all devices that want it at once.

Knows no sockets, files or clock: wants go in, the next sending comes out, time is an
argument. Every chunk reaches every subscriber, so that:

- what is sent counts as in flight to every device until the device's next report covers
  it; a request for what is in flight is not answered again (no echo, no request storm);
- the next chunk is the next one in turn that a device with room lacks: late joiners get
  what they missed on the next lap, and do not restart the others;
- what devices lost goes out mixed, where that serves more of them (edgekit.depot.coding);
- half of the devices that lack something must have room in their window, so that neither
  one slow device nor one fast one sets the pace of all;
- what a device passed over (sent before the last chunk it processed, still missing) was
  lost, and is eligible again; what it does not report on at all is in flight until
  patience with it ends, which begins when it was sent.
"""

from collections import deque
from dataclasses import dataclass, field

from edgekit.depot.coding import Lack, mixture
from edgekit.depot.company import Company
from edgekit.wire import Want, pack_bits

_HISTORY = 4096  # sendings remembered for a device: far more than any window


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRules:
    """The timers and bounds of a schedule."""

    gather_s: float = 0.2  # the first want of an idle blob waits for others, these again …
    most_gather_s: float = 0.6  # … and all together so long
    settle_s: float = 2.0  # what serves few waits for the reports of others, so long
    patience_s: float = 2.0  # without progress for so long, what is in flight was lost
    most_patience_s: float = 60.0
    quiet_s: float = 10.0  # unheard for so long, a device holds nobody up
    forget_s: float = 120.0
    max_window: int = 256
    most_devices: int = 10_000  # at once; more wait until some are done


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One chunk goes out, or several as their XOR: the `sequence`-th of its blob."""

    sequence: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """A sending of `chunks` (bits) on its way to a device, of use to it or not."""

    sequence: int
    chunks: int
    at: float


@dataclass(slots=True, kw_only=True)
class _Receiver:
    """What is known of one device. Chunk sets are bit masks."""

    missing: int
    eligible: int  # missing, and not in flight
    coded: bool  # takes mixtures
    reported: int  # the last of our sendings that it said it processed; 0: none yet
    window: int
    heard_at: float
    waiting_since: float  # what is in flight to it has made no progress since
    patience_s: float
    pace_s: float = 0.0  # how long it takes to make progress
    awaited: int = 0  # of what is in flight, how many are to bring it something
    in_flight: deque[_Sent] = field(default_factory=lambda: deque(maxlen=_HISTORY))

    def gets(self, chunks: int) -> int:
        """Return the chunk it is to have from a sending of chunks, as bits, or 0."""
        if not chunks & (chunks - 1):
            return chunks  # it is one, and reaches everybody
        lacking = self.eligible & chunks
        return lacking if self.coded and lacking.bit_count() == 1 else 0

    def about_to_report(self, now: float) -> bool:
        """Whether all it lacks is in flight, and patience with it has not ended."""
        waits = bool(self.awaited) and now - self.waiting_since < self.patience_s
        return waits and not self.eligible

    def settle(self, sequence: int) -> None:
        """Note that what was sent up to here is not in flight any more."""
        while self.in_flight and self.in_flight[0].sequence <= sequence:
            self.in_flight.popleft()

    def expect(self, sent: _Sent) -> None:
        """Note what is on its way."""
        chunk = self.gets(sent.chunks)
        if chunk and not self.awaited:
            self.waiting_since = sent.at
        if chunk or self.coded:
            self.in_flight.append(sent)
        self.awaited += bool(chunk)
        self.eligible &= ~chunk

    def believe(self, missing: int) -> None:
        """Take in what it misses: what is in flight is not sent again.

        A mixture that was of no use by an older report, or was to bring another chunk,
        is judged anew: it brings what the device turns out to lack of it.
        """
        self.missing = self.eligible = missing
        self.awaited = 0
        for sent in self.in_flight:
            chunk = self.gets(sent.chunks)
            self.awaited += bool(chunk)
            self.eligible &= ~chunk


class Schedule:
    """The sendings of one blob of `chunks` chunks, since `epoch` was drawn.

    Once all of `company` have joined, nobody is waited for.
    """

    def __init__(
        self,
        *,
        chunks: int,
        epoch: int,
        rules: ScheduleRules | None = None,
        company: Company | None = None,
    ) -> None:
        self.chunks = chunks
        self.epoch = epoch
        self.sequence = 0
        self._rules = rules or ScheduleRules()
        self._company = company or Company()
        self._receivers: dict[str, _Receiver] = {}
        self._cursor = 0
        self._start_at = 0.0
        self._gathers_until = 0.0
        self._settled_at: float | None = None

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
        receiver.window, receiver.coded = self._window(want), want.coded
        reported = self._reported(want)
        if 0 < reported < receiver.reported:
            return  # an older report, delivered late or twice
        if reported > receiver.reported:
            self._note_progress(receiver, reported, now)
        else:
            lost = self._lost_up_to(receiver, reported, now)
            if receiver.in_flight and lost >= receiver.in_flight[0].sequence:
                self._give_up(receiver, lost, now)
            receiver.reported = reported
        receiver.believe(missing)

    def next(self, now: float) -> Sending | None:
        """Return what to send now, or None when every device has to report first."""
        if now < self._start_at:
            return None
        hungry = [r for r in self._receivers.values() if r.eligible and self._near(r, now)]
        ready = [r for r in hungry if r.awaited < r.window]
        if not ready:
            self._settled_at = None
        if not ready or 2 * len(ready) < len(hungry):
            return None
        lacking = 0
        for receiver in ready:
            lacking |= receiver.eligible
        first = _next_bit(lacking, self._cursor)
        numbers = mixture(first, [Lack(chunks=r.eligible, coded=r.coded) for r in ready])
        chunks = sum(1 << number for number in numbers)
        if self._settling(chunks, now):
            return None
        self._cursor = first + 1
        self.sequence += 1
        for receiver in self._receivers.values():
            receiver.expect(_Sent(sequence=self.sequence, chunks=chunks, at=now))
        return Sending(sequence=self.sequence, numbers=numbers)

    def wait_s(self, now: float) -> float | None:
        """Return how long next() stays None unless somebody is heard; None: for ever."""
        waits = [at - now for at in (self._start_at, self._settled_at or 0.0) if now < at]
        return max(waits, default=None)

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
            self._gathers_until = now + self._rules.most_gather_s
            self._start_at = now + self._rules.gather_s
        elif now < self._start_at:
            self._start_at = min(now + self._rules.gather_s, self._gathers_until)
        self._receivers[device] = _Receiver(
            missing=missing,
            eligible=missing,
            coded=want.coded,
            reported=self._reported(want),
            window=self._window(want),
            heard_at=now,
            waiting_since=now,
            patience_s=self._rules.patience_s,
        )
        if now < self._start_at and self._company.is_within(self._receivers):
            self._start_at = now

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
        receiver.settle(sequence)
        receiver.waiting_since = now

    def _lost_up_to(self, receiver: _Receiver, reported: int, now: float) -> int:
        """Return up to which sending all in flight to a device must have been lost."""
        if receiver.reported > 0 and reported == 0:
            return self.sequence  # a new session: what was on its way went with the old
        if now - receiver.waiting_since < receiver.patience_s:
            return 0
        patience_s = receiver.patience_s
        lost = [s.sequence for s in receiver.in_flight if now - s.at >= patience_s]
        return max(lost, default=0)

    def _give_up(self, receiver: _Receiver, sequence: int, now: float) -> None:
        if receiver.awaited:
            most_s = self._rules.most_patience_s
            receiver.patience_s = min(2 * receiver.patience_s, most_s)
        receiver.settle(sequence)
        receiver.waiting_since = now

    def _reported(self, want: Want) -> int:
        """Return the last of our sendings that a want reports as processed, or 0."""
        ours = want.epoch == self.epoch and want.last_sequence <= self.sequence
        return want.last_sequence if ours else 0

    def _settling(self, chunks: int, now: float) -> bool:
        """Whether to wait for reports: they may let the same bytes serve many more."""
        near = [r for r in self._receivers.values() if self._near(r, now)]
        served = sum(1 for r in near if r.gets(chunks) & r.eligible)
        awaited = sum(1 for r in near if r.about_to_report(now))
        if served >= awaited:
            self._settled_at = None
            return False
        if self._settled_at is None:
            self._settled_at = now + self._rules.settle_s
        return now < self._settled_at

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
