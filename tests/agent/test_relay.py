"""Requests over the broker: answered, refused, and never more than the device can bear."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.schema import Enforcement
from edgekit.telemetry.refusals import Reason, RefusalCounter
from edgekit.transport import Message
from edgekit.wire import MAX_PAYLOAD_BYTES, Asked, Topics
from edgekit_agent.service.invocations import Handler
from edgekit_agent.service.listener import UnixListener
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.shelf import Shelf
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision.relay import MAX_WAITING, STALE_S, Relay
from tests.agent.making import made, stored
from tests.fakes import FakeBroker, FakeClock

TOPICS = Topics(fleet="demo")
ROWS = b'{"dataframe_records": [{"a": 1, "b": 2}]}'


class Asker:
    """Another client of the broker, who asks the device and hears its answers."""

    def __init__(self, broker: FakeBroker, device: str) -> None:
        self._transport = broker.connect("asker")
        self._transport.subscribe(f"{TOPICS.device(device)}/answer/+")
        self._device = device

    def ask(self, correlation: str, body: bytes = ROWS, model: str = "wine") -> None:
        self._transport.publish(TOPICS.ask(self._device, model, correlation), body, qos=0)

    def answers(self, count: int) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        ends_s = time.monotonic() + 20
        while len(found) < count:
            assert time.monotonic() < ends_s, found
            arrival = self._transport.receive(0.1)
            if isinstance(arrival, Message):
                found[arrival.topic.rpartition("/")[2]] = json.loads(arrival.payload)
        return found


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def asker(broker: FakeBroker) -> Asker:
    return Asker(broker, "pi-7")


def relaying(
    broker: FakeBroker, path: Path, clock: FakeClock | None = None
) -> tuple[Relay, RefusalCounter]:
    """Start a device's relay and bring it what arrives, as the supervisor does."""
    transport, refusals = broker.connect("pi-7"), RefusalCounter()
    clocks = {} if clock is None else {"clock": clock}
    relay = Relay(
        TOPICS, "pi-7", transport=transport, socket=path, refusals=refusals, **clocks
    )
    relay.start()

    def pump() -> None:
        while True:
            arrival = transport.receive(0.05)
            if isinstance(arrival, Message):
                relay.offer(arrival)

    threading.Thread(target=pump, daemon=True).start()
    return relay, refusals


@pytest.fixture
def served(store: Store, folder: Path) -> Iterator[Path]:
    """The worker's own socket, serving one model."""
    stored(store, made())
    shelf = Shelf(Enforcement.STRICT)
    identity = Identity(model="wine", version="7", flavor="fp32", sha256=made().sha256)
    shelf.put(Served.load(store, identity))
    listener = UnixListener(folder / "agent.sock", Handler, shelf)
    threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    yield folder / "agent.sock"
    listener.finish(5)
    listener.server_close()


@pytest.fixture
def fleet(broker: FakeBroker, asker: Asker, served: Path) -> tuple[FakeBroker, Asker, Path]:
    return broker, asker, served


@pytest.fixture
def stuck(folder: Path) -> Iterator[Path]:
    """A worker's socket that takes connections and answers none."""
    path = folder / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(64)
        yield path


def test_a_request_is_answered_with_its_correlation_and_the_bundle(
    broker: FakeBroker, asker: Asker, served: Path
) -> None:
    relaying(broker, served)
    asker.ask("q-1.~_")
    assert asker.answers(1) == {
        "q-1.~_": {
            "format": 1,
            "status": 200,
            "version": "7",
            "flavor": "fp32",
            "sha256": made().sha256,
            "body": {"predictions": [6.0]},
        }
    }


@pytest.mark.parametrize(
    ("asked", "status", "sentence"),
    [
        ((b"{", "wine"), 400, "Ensure that input is a valid JSON formatted string"),
        ((b"\xff\xfe", "wine"), 400, "Ensure that input is a valid JSON formatted"),
        ((b'{"inputs": {"a": [1]}}', "wine"), 400, "Model is missing inputs ['b']"),
        ((ROWS, "beer"), 404, "model beer: it is not served here"),
        ((ROWS, "a b/ö"), 404, "model a b/ö: it is not served here"),
    ],
)
def test_a_bad_request_gets_the_answer_of_http(
    fleet: tuple[FakeBroker, Asker, Path],
    asked: tuple[bytes, str],
    status: int,
    sentence: str,
) -> None:
    broker, asker, served = fleet
    _, refusals = relaying(broker, served)
    asker.ask("q", *asked)
    answer = asker.answers(1)["q"]
    assert answer["status"] == status
    assert sentence in answer["body"]["message"]
    assert answer["sha256"] == ""
    assert refusals.take() == {}, "the worker counts it"


def test_without_a_worker_the_answer_is_to_come_back(
    broker: FakeBroker, asker: Asker, folder: Path
) -> None:
    _, refusals = relaying(broker, folder / "no.sock")
    asker.ask("q")
    assert asker.answers(1)["q"]["status"] == 503
    assert refusals.take() == {Reason.ASK_UNANSWERED: 1}


def test_more_than_may_wait_are_told_to_come_back_at_once(
    broker: FakeBroker, asker: Asker, stuck: Path
) -> None:
    _, refusals = relaying(broker, stuck)
    asked = MAX_WAITING + 20
    for number in range(asked):
        asker.ask(f"q{number}")
    busy = asker.answers(asked - MAX_WAITING - 1)
    assert {answer["status"] for answer in busy.values()} == {503}
    assert all("too many requests" in a["body"]["message"] for a in busy.values())
    ((reason, count),) = refusals.take().items()
    assert reason == Reason.ASK_BUSY
    assert count - len(busy) in {0, 1}, "the first may still wait when the last comes"


def test_who_waited_too_long_is_not_answered_by_the_model(
    broker: FakeBroker, asker: Asker, served: Path
) -> None:
    class Late(FakeClock):
        """Each look at it is later than a request may wait."""

        def __call__(self) -> float:
            self.now += STALE_S + 1
            return self.now

    _, refusals = relaying(broker, served, Late())
    asker.ask("q")
    answer = asker.answers(1)["q"]
    assert (answer["status"], answer["sha256"]) == (503, "")
    assert refusals.take() == {Reason.ASK_LATE: 1}


def test_an_answer_that_fits_no_message_says_so(
    broker: FakeBroker, asker: Asker, served: Path
) -> None:
    _, refusals = relaying(broker, served)
    split = {"columns": ["a", "b"], "data": [[0.1, 0.2]] * 9_000}
    body = json.dumps({"dataframe_split": split}, separators=(",", ":")).encode()
    assert len(body) < MAX_PAYLOAD_BYTES
    asker.ask("q", body)
    answer = asker.answers(1)["q"]
    assert answer["status"] == 413
    assert "ask for fewer rows" in answer["body"]["message"]
    assert refusals.take() == {Reason.ASK_SIZE: 1}


@pytest.mark.parametrize(
    "topic",
    [
        "edgekit/1/demo/dev/pi-7/ask/wine",
        "edgekit/1/demo/dev/pi-7/ask/wine/a b",
        "edgekit/1/demo/dev/pi-7/ask/wine/",
        "edgekit/1/demo/dev/pi-7/ask//q",
        f"edgekit/1/demo/dev/pi-7/ask/wine/{'q' * 65}",
        "edgekit/1/demo/dev/pi-8/ask/wine/q",
        "edgekit/1/other/dev/pi-7/ask/wine/q",
    ],
)
def test_other_topics_are_no_requests(topic: str) -> None:
    assert TOPICS.asked("pi-7", topic) is None


def test_a_request_reads_back_what_its_topic_says() -> None:
    topic = TOPICS.ask("pi 7", "a b/ö", "q1")
    assert TOPICS.asked("pi 7", topic) == Asked(model="a b/ö", correlation="q1")


def test_a_retained_request_is_none(broker: FakeBroker, folder: Path) -> None:
    relay, refusals = relaying(broker, folder / "no.sock")
    topic = TOPICS.ask("pi-7", "wine", "q")
    assert relay.offer(Message(topic=topic, payload=ROWS, retained=True))
    time.sleep(0.1)
    assert not any("/answer/" in one.topic for one in broker.published)
    assert refusals.take() == {Reason.ASK_RETAINED: 1}
