"""Topic names and messages, shared word for word by the fleet and the agent.

Knows no sockets, files or clock. docs/formats/wire.md is its page. Everything is sized
and shaped for MQTT 3.1.1 brokers and for AWS IoT Core's limits (payload up to 128 KB, at
most 7 slashes in a topic, QoS 0 and 1).
"""

import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from edgekit.errors import TransportError
from edgekit.statement import DIGEST_BYTES, MAX_CHUNK_BYTES, slug

VERSION = 1
CODED_VERSION = 2  # of a want whose device takes repairs, too
MAX_PAYLOAD_BYTES = 127 * 1024
_CORRELATION = re.compile(r"[A-Za-z0-9_~.-]{1,64}")
MAX_CHUNKS = MAX_PAYLOAD_BYTES // DIGEST_BYTES  # a chunk index is one message: 4,064
MAX_BUNDLE_BYTES = MAX_CHUNKS * MAX_CHUNK_BYTES

_CHUNK = struct.Struct(">BIII")  # version, epoch, sequence, chunk number
_WANT = struct.Struct(">B32sIIHI")  # version, digest, epoch, last sequence, window, chunks
_REPAIR = struct.Struct(">BIIB")  # version, epoch, sequence, chunks that are mixed
_NUMBER = struct.Struct(">H")
_SET = ord("1")
MAX_MIXED = 32  # chunks in a repair: what a device reads to solve it
CHUNK_HEADER_BYTES = _CHUNK.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Every topic of one fleet. Names become one topic level each (see slug)."""

    fleet: str

    @property
    def root(self) -> str:
        """The prefix of all topics of this fleet."""
        return f"edgekit/1/{slug(self.fleet)}"

    @property
    def index(self) -> str:
        """Retained: the names of all metadata files, so that absence can be known."""
        return f"{self.root}/index"

    @property
    def book(self) -> str:
        """Retained: whose book takes the telemetry of this fleet."""
        return f"{self.root}/book"

    def file(self, name: str) -> str:
        """Retained: one metadata file (TUF metadata, statements, chunk indexes)."""
        return f"{self.root}/meta/{slug(name)}"

    def blob(self, sha256: str) -> str:
        """Chunks of one bundle, for everybody who wants it; never retained."""
        return f"{self.root}/blob/{sha256}"

    def repair(self, sha256: str) -> str:
        """Repairs of one bundle, for every device that takes them; never retained."""
        return f"{self.blob(sha256)}/repair"

    def delta(self, sha256: str) -> str:
        """Retained: the patches to one bundle (edgekit.offer)."""
        return f"{self.blob(sha256)}/delta"

    def want(self, device: str) -> str:
        """A device says which chunks it misses."""
        return f"{self.device(device)}/want"

    def state(self, device: str) -> str:
        """Retained: what the device reports that it runs."""
        return f"{self.device(device)}/state"

    def presence(self, device: str) -> str:
        """Retained: online, or offline by last will."""
        return f"{self.device(device)}/presence"

    def telemetry(self, device: str) -> str:
        """Windows of inference metrics."""
        return f"{self.device(device)}/telemetry"

    def taken(self, device: str) -> str:
        """The fleet says which of a device's windows it has."""
        return f"{self.device(device)}/taken"

    def figures(self, device: str) -> str:
        """Retained: today's figures, for Home Assistant."""
        return f"{self.device(device)}/figures"

    def receipt(self, device: str) -> str:
        """Retained: what serves on the device, signed by it."""
        return f"{self.device(device)}/receipt"

    def ask(self, device: str, model: str, correlation: str) -> str:
        """A request for predictions; `correlation` is the asker's, and names the answer."""
        return f"{self.device(device)}/ask/{slug(model)}/{correlation}"

    def asks(self, device: str) -> str:
        """Return the filter for every request to a device."""
        return f"{self.device(device)}/ask/+/+"

    def asked(self, device: str, topic: str) -> "Asked | None":
        """Return what a request's topic says, None for other topics."""
        prefix = f"{self.device(device)}/ask/"
        parts = topic.removeprefix(prefix).split("/")
        if not topic.startswith(prefix) or len(parts) != 2:  # noqa: PLR2004 - model, correlation
            return None
        model, correlation = parts
        if not model or not _CORRELATION.fullmatch(correlation):
            return None
        return Asked(model=unquote(model), correlation=correlation)

    def answer(self, device: str, correlation: str) -> str:
        """The answer to a request."""
        return f"{self.device(device)}/answer/{correlation}"

    def depot(self, name: str) -> str:
        """Retained, among depots: one that is there; empty when it is gone."""
        return f"{self.root}/depot/{name}"

    def depot_name(self, topic: str) -> str | None:
        """Return the name of the depot whose topic this is, None for other topics."""
        prefix = self.depot("")
        return topic.removeprefix(prefix) if topic.startswith(prefix) else None

    def device(self, device: str) -> str:
        """The prefix under which a device may write, and nowhere else."""
        return f"{self.root}/dev/{slug(device)}"

    def every(self, kind: str) -> str:
        """Return the filter for `kind` ("want", "state", ...) of every device."""
        return f"{self.root}/dev/+/{kind}"

    def sender(self, topic: str) -> str | None:
        """Return the slug of the device that wrote to a topic, None for other topics."""
        prefix = f"{self.root}/dev/"
        if not topic.startswith(prefix):
            return None
        return topic.removeprefix(prefix).split("/", 1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which model is asked, and what the asker calls this request."""

    model: str
    correlation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One chunk on its way to everybody who wants the blob.

    `epoch` is drawn anew when a depot starts; `sequence` counts what it sent of this blob
    since then, from 1.
    """

    epoch: int
    sequence: int
    number: int
    data: bytes

    def encode(self) -> bytes:
        """Return the payload."""
        return _CHUNK.pack(VERSION, self.epoch, self.sequence, self.number) + self.data

    @classmethod
    def decode(cls, payload: bytes) -> "Chunk":
        """Parse, or raise TransportError."""
        if not _CHUNK.size < len(payload) <= _CHUNK.size + MAX_CHUNK_BYTES:
            raise TransportError(
                f"chunk: {len(payload)} bytes, {_CHUNK.size + 1} to"
                f" {_CHUNK.size + MAX_CHUNK_BYTES} are expected"
            )
        version, epoch, sequence, number = _CHUNK.unpack_from(payload)
        if version != VERSION:
            raise TransportError(f"chunk: version {version}, {VERSION} is expected")
        return cls(
            epoch=epoch,
            sequence=sequence,
            number=number,
            data=payload[_CHUNK.size :],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The XOR of several chunks, each filled up with zeros to the longest.

    A device that lacks exactly one of them has that one by XOR with the others. `epoch`
    and `sequence` are those of Chunk; `numbers` ascend, 2 to MAX_MIXED of them.
    """

    epoch: int
    sequence: int
    numbers: tuple[int, ...]
    data: bytes

    def encode(self) -> bytes:
        """Return the payload."""
        header = _REPAIR.pack(VERSION, self.epoch, self.sequence, len(self.numbers))
        return header + b"".join(map(_NUMBER.pack, self.numbers)) + self.data

    @classmethod
    def decode(cls, payload: bytes) -> "Repair":
        """Parse, or raise TransportError."""
        if len(payload) < _REPAIR.size:
            raise TransportError(f"repair: {len(payload)} bytes are too few")
        version, epoch, sequence, mixed = _REPAIR.unpack_from(payload)
        if version != VERSION:
            raise TransportError(f"repair: version {version}, {VERSION} is expected")
        start = _REPAIR.size + mixed * _NUMBER.size
        if not 1 < mixed <= MAX_MIXED or not 0 < len(payload) - start <= MAX_CHUNK_BYTES:
            raise TransportError(
                f"repair: {mixed} chunks in {len(payload)} bytes: out of range"
            )
        numbers = tuple(n for (n,) in _NUMBER.iter_unpack(payload[_REPAIR.size : start]))
        if any(after <= before for before, after in itertools.pairwise(numbers)):
            raise TransportError("repair: its chunks are not in order")
        return cls(epoch=epoch, sequence=sequence, numbers=numbers, data=payload[start:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A device's request: the chunks it misses of one blob, and how far it has read.

    `epoch` and `last_sequence` echo the last chunk it processed (0 and 0 before the
    first); `window` is how many chunks it bears in flight; `coded` says that it takes
    repairs as well as chunks.
    """

    sha256: str
    epoch: int
    last_sequence: int
    window: int
    chunks: int  # of the whole blob
    missing: frozenset[int]
    coded: bool = False

    def encode(self) -> bytes:
        """Return the payload."""
        return _WANT.pack(
            CODED_VERSION if self.coded else VERSION,
            bytes.fromhex(self.sha256),
            self.epoch,
            self.last_sequence,
            self.window,
            self.chunks,
        ) + pack_bits(self.missing, self.chunks)

    @classmethod
    def decode(cls, payload: bytes) -> "Want":
        """Parse, or raise TransportError."""
        if len(payload) < _WANT.size:
            raise TransportError(f"want: {len(payload)} bytes are too few")
        version, digest, epoch, last, window, chunks = _WANT.unpack_from(payload)
        if version not in (VERSION, CODED_VERSION):
            raise TransportError(
                f"want: version {version}, up to {CODED_VERSION} is expected"
            )
        if not 0 < chunks <= MAX_CHUNKS or window < 1:
            raise TransportError(f"want: {chunks} chunks, window {window}: out of range")
        bits = payload[_WANT.size :]
        if len(bits) != -(-chunks // 8):
            raise TransportError(f"want: {len(bits)} bitmap bytes for {chunks} chunks")
        return cls(
            sha256=digest.hex(),
            epoch=epoch,
            last_sequence=last,
            window=window,
            chunks=chunks,
            missing=frozenset(n for n in unpack_bits(bits) if n < chunks),
            coded=version == CODED_VERSION,
        )


def mix(chunks: Iterable[bytes], length: int) -> bytes:
    """Return the XOR of chunks up to `length` bytes, zeros after the shorter ones."""
    mixed = 0
    for chunk in chunks:
        mixed ^= int.from_bytes(chunk, "little")
    return mixed.to_bytes(length, "little")


def pack_bits(numbers: Iterable[int], size: int) -> bytes:
    """Return a bitmap of `size` bits, the lowest number in the first byte's lowest bit."""
    digits = bytearray(b"0") * size  # a number in base 2: linear, and in C
    for number in numbers:
        digits[number] = _SET
    digits.reverse()
    return int(digits or b"0", 2).to_bytes(-(-size // 8), "little")


def unpack_bits(bits: bytes) -> Iterator[int]:
    """Yield the numbers whose bits are set, in order."""
    digits = f"{int.from_bytes(bits, 'little'):b}"
    return (number for number, digit in enumerate(reversed(digits)) if digit == "1")


def encode_names(names: Iterable[str]) -> bytes:
    """Return the payload of the index: one name a line, sorted."""
    return "\n".join(sorted(names)).encode()


def decode_names(payload: bytes) -> frozenset[str]:
    """Parse the index, or raise TransportError."""
    try:
        return frozenset(payload.decode().split("\n")) if payload else frozenset()
    except UnicodeDecodeError as error:
        raise TransportError("index: not UTF-8") from error


def split_index(index: bytes) -> tuple[bytes, ...]:
    """Return the chunk digests that a chunk index holds, raw, in order."""
    if len(index) % DIGEST_BYTES:
        raise TransportError(f"chunk index: {len(index)} bytes, not whole digests")
    return tuple(index[at : at + DIGEST_BYTES] for at in range(0, len(index), DIGEST_BYTES))
