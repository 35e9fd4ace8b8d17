"""Surfaces on the broker: what any client that was let in may publish."""

import io
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from edgekit.depot.schedule import ScheduleRules
from edgekit.depot.server import Depot, DepotOptions
from edgekit.errors import TransportError, TrustError
from edgekit.fleet.book import Book, Device
from edgekit.fleet.claim import Said
from edgekit.fleet.watch import take
from edgekit.offer import Offer, Patch
from edgekit.statement import ReleaseRecord, StagePointer
from edgekit.telemetry.refusals import Reason, RefusalCounter
from edgekit.telemetry.taken import Taken
from edgekit.transport import Message
from edgekit.trust import receipt
from edgekit.wire import (
    Chunk,
    Repair,
    Topics,
    Want,
    decode_names,
    encode_names,
    mix,
    split_index,
)
from edgekit_agent import lines
from edgekit_agent.storage.spool import Spool
from edgekit_agent.supervision.relay import MAX_WAITING, Relay
from edgekit_agent.supervision.telemetry import Telemetry
from edgekit_agent.update.metadata import RetainedFiles
from edgekit_agent.update.receiver import Accepted, Receiver
from tests.agent.test_report import configuration
from tests.core import reports
from tests.core.examples import pointer, record
from tests.fakes import FakeBroker, FakeClock
from tests.fuzz.surface import Form, Surface
from tests.repositories import RepositoryFolder
from tests.simulation import bundle_of
from tests.trust.device import Device as TrustingDevice
from tests.trust.simulator import Files, Simulator

TOPICS = Topics(fleet="demo")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENTRY, INDEX, CONTENT = bundle_of(20)
DEVICE = "pi-7"


def _chunks() -> Sequence[bytes]:
    return [
        Chunk(epoch=7, sequence=n, number=n, data=CONTENT[8 * n : 8 * n + 8]).encode()
        for n in (0, 3, 19)
    ]


def _repairs() -> Sequence[bytes]:
    parts = [CONTENT[8 * n : 8 * n + 8] for n in (0, 3)]
    mixed = Repair(epoch=7, sequence=1, numbers=(0, 3), data=mix(parts, 8))
    return [mixed.encode()]


def _receives(payload: bytes) -> None:
    """A device whose fetch hears it as a chunk and as a repair, having half and nothing."""
    for have in ((), range(10), range(1, 20)):
        receiver = Receiver(entry=ENTRY, index=INDEX, have=have)
        for verdict in (
            receiver.repair(payload, lambda n: CONTENT[8 * n : 8 * n + 8]),
            receiver.chunk(payload),
        ):
            if isinstance(verdict, Accepted):
                at = 8 * verdict.number
                assert verdict.data == CONTENT[at : at + 8], "taken, and not the bundle's"


def _wants() -> Sequence[bytes]:
    want = Want(
        sha256=_depot_digest(),
        epoch=5,
        last_sequence=9,
        window=32,
        chunks=4,
        missing=frozenset({0, 2}),
    )
    return [want.encode(), Want.decode(b"\x02" + want.encode()[1:]).encode()]


@cache
def _repository() -> RepositoryFolder:
    folder = RepositoryFolder(Path(tempfile.mkdtemp(prefix="ek-fuzz-")) / "repository")
    folder.release(b"content" * 30_000, chunk_bytes=65_024)
    folder.stamp()
    return folder


def _depot_digest() -> str:
    (path,) = (_repository().path / "blobs").iterdir()
    return path.name


def _depot_hears(payload: bytes) -> None:
    """A depot hears it as a want, as the broker's index, and as a depot that is there."""
    clock = FakeClock()
    broker = FakeBroker(clock=clock)
    options = DepotOptions(name="one", clock=clock, rules=ScheduleRules(gather_s=0))
    depot = Depot(broker.connect("depot"), TOPICS, _repository().path, options)
    depot.step(0.1)
    broker.inject(TOPICS.want(DEVICE), payload, qos=1)
    broker.inject(TOPICS.depot("other"), payload, qos=1, retain=True)
    for _ in range(3):
        depot.step(0.1)
    assert depot.served.wants == 1
    try:
        Want.decode(payload)
    except TransportError:
        assert depot.served.malformed_wants == 1, "refused, and not counted"
    broker.inject(TOPICS.index, payload, qos=1, retain=True)
    broker.kill()
    broker.restart()
    for _ in range(3):
        depot.step(0.1)


@cache
def _book() -> Book:
    book = Book(Path(tempfile.mkdtemp(prefix="ek-fuzz-")) / "fleet.db")
    book.enroll(
        Device(
            name=DEVICE,
            board="b",
            models=(),
            enrolled_by="ada",
            enrolled_at=NOW,
            receipt_key=receipt.generate()[1],
        )
    )
    return book


def _watched(payload: bytes) -> None:
    """`fleet watch` hears it on each of a device's topics; garbage is counted."""
    for topic in (TOPICS.state(DEVICE), TOPICS.presence(DEVICE), TOPICS.receipt(DEVICE)):
        before = _garbage()
        message = Message(topic=topic, payload=payload)
        news = take(message, topics=TOPICS, book=_book(), now=NOW)
        if payload and not _is_object(payload):
            assert not news
            assert _garbage() == before + 1, "refused, and not counted"


def _telemetry(payload: bytes) -> None:
    """`fleet watch` hears it as a window of counts."""
    before = _garbage()
    message = Message(topic=TOPICS.telemetry(DEVICE), payload=payload)
    news = take(message, topics=TOPICS, book=_book(), now=NOW)
    assert not news or _garbage() == before, "counted as garbage, and taken"


def _answers() -> list[bytes]:
    kept = Taken(boot_id="b-1", windows=frozenset({(1, 2), (4, 4)}))
    unread = Taken(unread=frozenset({"ab" * 32}))
    refused = Taken(refused={"cd" * 32: "telemetry: counts as device pi-6"})
    return [one.encode() for one in (kept, unread, refused)]


def _acknowledged(payload: bytes) -> None:
    """A device hears it as what became of its windows; garbage is counted."""
    with tempfile.TemporaryDirectory(prefix="ek-fuzz-") as folder:
        refusals = RefusalCounter()
        transport = FakeBroker(clock=FakeClock()).connect("agent")
        spool = Spool(Path(folder), most_bytes=2**20)
        device = Telemetry(configuration(), transport, spool, "b", refusals=refusals)
        device.taken(payload)
    try:
        Taken.decode(payload)
    except TransportError:
        assert refusals.take() == {Reason.BROKER_TAKEN: 1}, "refused, and not counted"
        raise
    assert refusals.take() == {}


def _is_object(payload: bytes) -> bool:
    try:
        return isinstance(json.loads(payload), dict)
    except (ValueError, RecursionError):
        return False


def _garbage() -> int:
    return sum(one.messages for one in _book().garbage())


def _reports() -> Sequence[bytes]:
    return [reports.state(), reports.PRESENT, reports.GONE]


def _offers() -> Sequence[bytes]:
    patch = Patch.of(b"content", "ab" * 32, b"i" * 32)
    return [Offer(patches=(patch, patch)).to_json()]


def _topics(text: bytes) -> None:
    """Whatever stands in a topic below the fleet's, by a client that may publish there."""
    level = text.decode("utf-8", "replace")
    for topic in (level, f"{TOPICS.root}/{level}", f"{TOPICS.device(DEVICE)}/{level}"):
        TOPICS.asked(DEVICE, topic)
        TOPICS.depot_name(topic)
        message = Message(topic=topic, payload=b"{}")
        take(message, topics=TOPICS, book=_book(), now=NOW)
    take(
        Message(topic=f"{TOPICS.root}/dev/{level}/state", payload=b"{}"),
        topics=TOPICS,
        book=_book(),
        now=NOW,
    )


def _asked(text: bytes) -> None:
    """A request for predictions whose answer nobody waits for: the last is refused."""
    broker = FakeBroker(clock=FakeClock())
    refusals = RefusalCounter()
    relay = Relay(
        TOPICS,
        DEVICE,
        transport=broker.connect("agent"),
        socket=Path("/nowhere"),
        refusals=refusals,
    )
    level = text.decode("utf-8", "replace")
    message = Message(topic=f"{TOPICS.device(DEVICE)}/ask/{level}", payload=text)
    taken = [relay.offer(message) for _ in range(MAX_WAITING + 1)]
    assert len(broker.published) == (1 if taken[0] else 0)
    assert refusals.take() == ({Reason.ASK_BUSY: 1} if taken[0] else {})
    for said in broker.published:
        assert json.loads(said.payload)["status"] == 503


def _index(payload: bytes) -> None:
    """The index topic, and a file that it may name, as the updater reads them."""
    clock = FakeClock()
    broker = FakeBroker(clock=clock)
    broker.inject(TOPICS.index, payload, qos=1, retain=True)
    broker.inject(TOPICS.file("timestamp.json"), payload, qos=1, retain=True)
    files = RetainedFiles(broker.connect("updater"), TOPICS, timeout_s=0.05, clock=clock)
    found = files.file("timestamp.json", 100)
    assert found is None or len(found) <= 101


@cache
def _operator() -> Simulator:
    operator = Simulator()
    operator.rotate("timestamp")
    operator.release("1", 1)
    return operator


ROLES = ("timestamp", "snapshot", "targets", "models", "stage-production", "root")


def _newest(role: str) -> str:
    """Return the name of a role's newest metadata file."""
    names = [name for name in _operator().files if name.endswith(f"{role}.json")]
    return max(names)


def _metadata(role: str) -> Surface:
    def trusted(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="ek-fuzz-") as folder:
            source = Files({**_operator().files, _newest(role): data})
            root = _operator().files["1.root.json"]
            TrustingDevice(Path(folder), root, source).version()

    return Surface(
        name=f"metadata-{role}",
        entry=trusted,
        seeds=lambda: [_operator().files[_newest(role)]],
        refusals=(TrustError, TransportError),
        form=Form.JSON,
        examples=15,
    )


def _line(data: bytes) -> None:
    """What a process of the agent reads of another, which a model may have taken over."""
    for document in lines.read(io.BytesIO(data)):
        assert isinstance(document, dict)


SURFACES = (
    Surface(name="chunk", entry=_receives, seeds=_chunks),
    Surface(name="repair", entry=_receives, seeds=_repairs),
    Surface(name="want", entry=_depot_hears, seeds=_wants, examples=40),
    Surface(
        name="chunk-index",
        entry=split_index,
        seeds=lambda: [INDEX],
        refusals=(TransportError,),
        examples=20,
    ),
    Surface(
        name="names",
        entry=decode_names,
        seeds=lambda: [encode_names(_operator().files)],
        refusals=(TransportError,),
        examples=20,
    ),
    Surface(
        name="index",
        entry=_index,
        seeds=lambda: [encode_names(_operator().files)],
        refusals=(TransportError,),
    ),
    Surface(
        name="offer",
        entry=Offer.from_json,
        seeds=_offers,
        refusals=(TransportError,),
        form=Form.JSON,
    ),
    Surface(
        name="record",
        entry=ReleaseRecord.from_json,
        seeds=lambda: [record().to_json()],
        refusals=(TrustError,),
        form=Form.JSON,
    ),
    Surface(
        name="pointer",
        entry=StagePointer.from_json,
        seeds=lambda: [pointer().to_json()],
        refusals=(TrustError,),
        form=Form.JSON,
    ),
    Surface(name="watch", entry=_watched, seeds=_reports, form=Form.JSON, examples=30),
    Surface(name="telemetry", entry=_telemetry, seeds=lambda: [reports.window()]),
    Surface(
        name="taken",
        entry=_acknowledged,
        seeds=_answers,
        refusals=(TransportError,),
        form=Form.JSON,
    ),
    Surface(
        name="claim",
        entry=Said.decode,
        seeds=lambda: [Said(token="ab" * 16, who="ada@station", at="").encode()],
        refusals=(TransportError,),
        form=Form.JSON,
    ),
    Surface(name="topic", entry=_topics, seeds=lambda: [b"pi-7/state", b"ask/wine/1"]),
    Surface(name="ask", entry=_asked, seeds=lambda: [b"wine/1", b"%20%C3%A9/a_b~c.d-e"]),
    Surface(name="line", entry=_line, seeds=lambda: [b'{"event":"up","n":1}\n' * 3]),
    *map(_metadata, ROLES),
)
