"""A depot's schedule and many receivers in virtual time: loss, delay, queues, restarts.

The broker stands beside the depot; between it and each device lie a delay, a rate, a
queue with an end, and loss. Wants (QoS 1) are never lost, chunks (QoS 0) may be.
"""

import hashlib
import random
from collections import deque
from dataclasses import dataclass, field, replace

from edgekit.depot.schedule import Schedule, ScheduleRules, Sending
from edgekit.statement import BundleEntry
from edgekit.wire import Chunk, Repair, Want, mix
from edgekit_agent.update.receiver import Accepted, Receiver, ReceiverRules

STEP_S = 0.01


def bundle_of(chunks: int, chunk_bytes: int = 8) -> tuple[BundleEntry, bytes, bytes]:
    """Return an entry, its chunk index, and the bundle's bytes."""
    data = b"".join(n.to_bytes(chunk_bytes) for n in range(chunks))[:-1] + b"!"
    index = b"".join(
        hashlib.sha256(data[at : at + chunk_bytes]).digest()
        for at in range(0, len(data), chunk_bytes)
    )
    entry = BundleEntry(
        flavor="fp32",
        sha256=hashlib.sha256(data).hexdigest(),
        length=len(data),
        chunk_bytes=chunk_bytes,
        index_sha256=hashlib.sha256(index).hexdigest(),
        unpacked_bytes=len(data),
        peak_rss_bytes=0,
        min_onnxruntime="1.20",
        one_row_p95_us=0,
    )
    return entry, index, data


@dataclass
class Device:
    """One device: when it joins, how lossy and slow its link is, when it restarts."""

    name: str
    joins_at: float = 0.0
    loss: float = 0.0
    delay_s: float = 0.02
    seconds_per_chunk: float = 0.0
    queue: int = 10_000
    plain: bool = False  # an agent that knows no repairs
    restarts_at: float | None = None
    dies_at: float | None = None
    finished_at: float | None = None
    received: int = 0
    accepted: set[int] = field(default_factory=set)
    on_the_way: deque[tuple[float, bool, bytes]] = field(default_factory=deque)
    wants: deque[tuple[float, Want]] = field(default_factory=deque)
    receiver: Receiver | None = None
    link_free_at: float = 0.0
    reached: set[int] = field(default_factory=set)  # not lost since it subscribed


@dataclass
class Simulation:
    """Runs until every living device has finished."""

    chunks: int
    devices: list[Device]
    seed: int = 0
    sends_per_step: int = 8
    window: int = 8
    rules: ScheduleRules = field(default_factory=ScheduleRules)
    now: float = 0.0
    sent: list[tuple[int, ...]] = field(default_factory=list)
    sent_bytes: int = 0
    needless: list[tuple[int, ...]] = field(default_factory=list)
    accepted_twice: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.entry, self.index, self.data = bundle_of(self.chunks)
        self.schedule = Schedule(chunks=self.chunks, epoch=7, rules=self.rules)
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable, not secret

    def run(self, limit_s: float = 3600.0) -> "Simulation":
        while self.now < limit_s and any(self._alive(d) for d in self.devices):
            for device in self.devices:
                self._live(device)
            more = self._serve()
            self.now += STEP_S
            if not more:
                self._skip_silence(limit_s)
        return self

    @property
    def unfinished(self) -> list[str]:
        return [d.name for d in self.devices if d.finished_at is None]

    def _alive(self, device: Device) -> bool:
        dead = device.dies_at is not None and self.now >= device.dies_at
        return device.finished_at is None and not dead

    def _live(self, device: Device) -> None:
        if self.now < device.joins_at or not self._alive(device):
            return
        if device.restarts_at is not None and self.now >= device.restarts_at:
            device.restarts_at, device.receiver = None, None
            device.on_the_way.clear()
            device.link_free_at = self.now
        if device.receiver is None:
            self._start(device)
        self._take_arrivals(device)
        assert device.receiver is not None
        want = device.receiver.want(self.now)
        if want is not None:
            want = replace(want, coded=want.coded and not device.plain)
            device.wants.append((self.now + device.delay_s, Want.decode(want.encode())))
        if device.receiver.complete:
            device.finished_at = self.now

    def _skip_silence(self, limit_s: float) -> None:
        """Move to when the next thing happens, if that is later."""
        alive = [device for device in self.devices if self._alive(device)]
        moments = [self.now + (self.schedule.wait_s(self.now) or limit_s)] if alive else []
        for device in alive:
            moments += [device.on_the_way[0][0]] if device.on_the_way else []
            moments += [device.wants[0][0]] if device.wants else []
            moments += [at for at in (device.restarts_at, device.dies_at) if at is not None]
            if device.receiver is None:
                moments.append(device.joins_at)
            else:
                moments.append(self.now + device.receiver.wait_s(self.now))
        self.now = max(self.now, min(moments, default=0))

    def _start(self, device: Device) -> None:
        device.receiver = Receiver(
            entry=self.entry,
            index=self.index,
            have=device.accepted,
            rules=ReceiverRules(window=self.window),
        )
        device.reached = set(device.accepted)

    def _take_arrivals(self, device: Device) -> None:
        assert device.receiver is not None
        while device.on_the_way and device.on_the_way[0][0] <= self.now:
            _, mixed, payload = device.on_the_way.popleft()
            if mixed:
                verdict = device.receiver.repair(payload, self.piece)
            else:
                verdict = device.receiver.chunk(payload)
            device.received += 1
            if isinstance(verdict, Accepted):
                if verdict.number in device.accepted:
                    self.accepted_twice.append(verdict.number)
                device.accepted.add(verdict.number)

    def _serve(self) -> bool:
        """Send what may be sent in one step; whether there may be more."""
        for device in self.devices:
            while device.wants and device.wants[0][0] <= self.now:
                self.schedule.hear(device.name, device.wants.popleft()[1], self.now)
        for _ in range(self.sends_per_step):
            sending = self.schedule.next(self.now)
            if sending is None:
                return False
            self._broadcast(sending)
        return True

    def piece(self, number: int) -> bytes:
        """Return one chunk of the bundle."""
        return self.data[number * 8 : number * 8 + 8]

    def _broadcast(self, sending: Sending) -> None:
        numbers, sequence = sending.numbers, sending.sequence
        self.sent.append(numbers)
        mixed = len(numbers) > 1
        if mixed:
            data = mix(map(self.piece, numbers), 8)
            payload = Repair(
                epoch=7, sequence=sequence, numbers=numbers, data=data
            ).encode()
        else:
            data = self.piece(numbers[0])
            payload = Chunk(
                epoch=7, sequence=sequence, number=numbers[0], data=data
            ).encode()
        self.sent_bytes += len(data)
        subscribed = [
            d
            for d in self.devices
            if d.name in self.schedule.devices and d.receiver and not (mixed and d.plain)
        ]
        if all(d.reached.issuperset(numbers) for d in subscribed if self._alive(d)):
            self.needless.append(numbers)
        for device in subscribed:
            full = len(device.on_the_way) >= device.queue
            if not full and self._random.random() >= device.loss:
                if not mixed or len(set(numbers) - device.reached) == 1:
                    device.reached.update(numbers)
                start = max(self.now, device.link_free_at)
                device.link_free_at = start + device.seconds_per_chunk
                arrives_at = device.link_free_at + device.delay_s
                device.on_the_way.append((arrives_at, mixed, payload))
