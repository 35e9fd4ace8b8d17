"""A TCP proxy before a broker that counts bytes and reads the packets that pass.

Written on MQTT 3.1.1's own words (OASIS, sections 2 and 3), so that neither paho nor
edgekit says what went over the wire.
"""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self


class Kind(IntEnum):
    """The types of control packets, 2.2.1; those that are looked at here."""

    CONNECT = 1
    PUBLISH = 3
    SUBSCRIBE = 8
    PINGREQ = 12
    PINGRESP = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One control packet: who spoke, its length on the wire, and what it carried."""

    client_id: str
    from_client: bool
    kind: int
    length: int
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    filters: tuple[tuple[str, int], ...] = ()
    keepalive_s: int = 0
    will_topic: str = ""
    will_payload: bytes = b""


@dataclass(slots=True)
class _Stream:
    """The bytes of one direction, cut into packets."""

    waiting: bytes = b""

    def cut(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Return whole packets as (first byte, length on the wire, body)."""
        self.waiting += data
        found = []
        while (whole := self._next()) is not None:
            found.append(whole)
        return found

    def _next(self) -> tuple[int, int, bytes] | None:
        length, at = 0, 1
        for shift in range(0, 28, 7):
            if at >= len(self.waiting):
                return None
            digit = self.waiting[at]
            at += 1
            length |= (digit & 0x7F) << shift
            if not digit & 0x80:
                break
        if len(self.waiting) < at + length:
            return None
        first, body = self.waiting[0], self.waiting[at : at + length]
        self.waiting = self.waiting[at + length :]
        return first, at + length, body


@dataclass
class Wiretap:
    """Listens on a free port, passes everything on to the broker's."""

    broker_port: int
    packets: list[Packet] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._server.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection."""
        self._server.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def seen(self, since: int = 0) -> list[Packet]:
        """Return the packets since a position."""
        with self._lock:
            return list(self.packets[since:])

    def position(self) -> int:
        """How many packets have passed."""
        with self._lock:
            return len(self.packets)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self.broker_port))
            for one in (client, broker):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open += [client, broker]
            name: list[str] = [""]
            for source, sink, outward in ((client, broker, True), (broker, client, False)):
                arguments = (source, sink, name)
                threading.Thread(
                    target=self._pass_on,
                    args=arguments,
                    kwargs={"from_client": outward},
                    daemon=True,
                ).start()

    def _pass_on(
        self,
        source: socket.socket,
        sink: socket.socket,
        name: list[str],
        *,
        from_client: bool,
    ) -> None:
        stream = _Stream()
        with source, contextlib.suppress(OSError):
            while data := source.recv(65_536):
                for first, length, body in stream.cut(data):
                    packet = parsed(first, length, body, name, from_client=from_client)
                    with self._lock:
                        self.packets.append(packet)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


def parsed(
    first: int, length: int, body: bytes, name: list[str], *, from_client: bool
) -> Packet:
    """Read one packet; `name` holds the client's, once CONNECT has said it."""
    kind, qos = first >> 4, first >> 1 & 3
    rest: dict[str, object] = {}
    match kind:
        case Kind.CONNECT:
            rest = _connect(body)
            name[0] = str(rest.pop("client_id"))
        case Kind.PUBLISH:
            topic, at = _text(body, 0)
            at += 2 if qos else 0
            rest = {"topic": topic, "payload": body[at:], "retain": bool(first & 1)}
        case Kind.SUBSCRIBE:
            rest = {"filters": _filters(body)}
    return Packet(
        client_id=name[0],
        from_client=from_client,
        kind=kind,
        length=length,
        qos=qos if kind == Kind.PUBLISH else 0,
        **rest,  # type: ignore[arg-type]  # Packet's own fields
    )


def _connect(body: bytes) -> dict[str, object]:
    """3.1.2 and 3.1.3: protocol, level, flags, keep-alive, client id, will."""
    _, at = _text(body, 0)
    flags, keepalive_s = body[at + 1], int.from_bytes(body[at + 2 : at + 4], "big")
    client_id, at = _text(body, at + 4)
    found: dict[str, object] = {"client_id": client_id, "keepalive_s": keepalive_s}
    if flags & 4:
        found["will_topic"], at = _text(body, at)
        length = int.from_bytes(body[at : at + 2], "big")
        found["will_payload"] = body[at + 2 : at + 2 + length]
    return found


def _filters(body: bytes) -> tuple[tuple[str, int], ...]:
    found, at = [], 2
    while at < len(body):
        topic, at = _text(body, at)
        found.append((topic, body[at]))
        at += 1
    return tuple(found)


def _text(body: bytes, at: int) -> tuple[str, int]:
    length = int.from_bytes(body[at : at + 2], "big")
    return body[at + 2 : at + 2 + length].decode(), at + 2 + length
