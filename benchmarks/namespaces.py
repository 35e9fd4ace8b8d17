# noqa: INP001 - a script's part, not a package
"""Two network namespaces, joined by a link that delays, limits and loses IP packets.

For kernels without netem: each namespace has a TUN interface, and this process carries
packets from the one to the other. TCP in both is the kernel's own. Needs root.
"""

import ctypes
import fcntl
import os
import random
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

FAR, NEAR = "10.9.0.1", "10.9.0.2"
_MASK = "255.255.255.0"
_NAME = b"link"
_PACKET_BYTES = 2048  # longer than an interface's 1,500
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_TUNSETIFF, _TUN_WITHOUT_HEADER = 0x400454CA, 0x1001  # linux/if_tun.h
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C  # linux/sockios.h
_UP_AND_RUNNING = 0x41  # linux/if.h


@dataclass(kw_only=True)
class Link:
    """Both directions alike; before it lies a queue of a round trip, as in a router."""

    bytes_per_s: float
    one_way_s: float
    loss: float = 0.0


@dataclass(kw_only=True)
class _Direction:
    """Packets from one interface on their way to the other."""

    source: int
    sink: int
    chance: random.Random
    free_at: float = 0.0
    on_the_way: deque[tuple[float, bytes]] = field(default_factory=deque)

    def take(self, link: Link) -> None:
        """Take in what the source has."""
        now = time.monotonic()
        while packet := _read(self.source):
            waits_s = max(0.0, self.free_at - now)
            if self.chance.random() < link.loss or waits_s > 2 * link.one_way_s:
                continue
            self.free_at = now + waits_s + len(packet) / link.bytes_per_s
            self.on_the_way.append((self.free_at + link.one_way_s, packet))

    def give(self) -> float:
        """Hand over what has arrived; return when the next packet will have."""
        while self.on_the_way and self.on_the_way[0][0] <= time.monotonic():
            os.write(self.sink, self.on_the_way.popleft()[1])
        return self.on_the_way[0][0] if self.on_the_way else float("inf")


def may_enter() -> bool:
    """Whether this process may make namespaces and interfaces."""
    return os.geteuid() == 0 and os.path.exists("/dev/net/tun")  # noqa: PTH110 - a device


def enter(address: str, tell: socket.socket) -> None:
    """Move this thread, and those it starts, behind a link; send its end over `tell`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _NAME, _TUN_WITHOUT_HEADER))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for name, host, mask in (
            (b"lo", "127.0.0.1", "255.0.0.0"),
            (_NAME, address, _MASK),
        ):
            for request, value in ((_SIOCSIFADDR, host), (_SIOCSIFNETMASK, mask)):
                told = socket.AF_INET, socket.inet_aton(value)
                fcntl.ioctl(any_socket, request, struct.pack("16sH2x4s8x", name, *told))
            up = struct.pack("16sH14x", name, _UP_AND_RUNNING)
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, up)
    socket.send_fds(tell, [b"t"], [tun])
    os.close(tun)


def join(
    far: socket.socket, near: socket.socket, link: Link, done: Callable[[], bool]
) -> None:
    """Carry packets between what two processes sent by enter(), until `done()`."""
    (a,), (b,) = (socket.recv_fds(end, 1, 1)[1] for end in (far, near))
    chance = random.Random(0)  # noqa: S311 - repeatable, not secret
    ways = {
        source: _Direction(source=source, sink=sink, chance=chance)
        for source, sink in ((a, b), (b, a))
    }
    next_s = 0.0
    while not done():
        for source in select.select(list(ways), [], [], next_s)[0]:
            ways[source].take(link)
        soonest = min([way.give() for way in ways.values()])
        next_s = min(0.5, max(0.0, soonest - time.monotonic()))
    os.close(a)
    os.close(b)


def _read(tun: int) -> bytes:
    try:
        return os.read(tun, _PACKET_BYTES)
    except BlockingIOError:
        return b""
