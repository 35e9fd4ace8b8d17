"""Requests for predictions over a real broker, to a real agent."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgekit.mqtt import MqttTransport
from edgekit.transport import Message
from edgekit_agent.supervision.relay import MAX_WAITING
from tests.agent.making import made
from tests.e2e.conftest import first
from tests.e2e.household import DEVICE, MODEL, ROWS, Household

pytestmark = [pytest.mark.slow, pytest.mark.broker]


@dataclass
class Asker:
    """A program elsewhere: it asks devices, and collects what they answer."""

    house: Household
    transport: MqttTransport
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self, correlation: str, body: bytes = ROWS, model: str = MODEL) -> None:
        topic = self.house.topics.ask(DEVICE, model, correlation)
        self.transport.publish(topic, body, qos=0)

    def answer(self, correlation: str) -> dict[str, Any]:
        self.house.until(lambda: correlation in self.answers, f"{correlation} is answered")
        return self.answers[correlation][0]

    def listen(self) -> None:
        prefix = self.house.topics.answer(DEVICE, "")
        self.transport.subscribe(f"{prefix}+")
        while not self.over.is_set():
            arrival = self.transport.receive(0.1)
            if isinstance(arrival, Message):
                correlation = arrival.topic.removeprefix(prefix)
                found = self.answers.setdefault(correlation, [])
                found.append(json.loads(arrival.payload))


@contextmanager
def asking(house: Household) -> Iterator[Asker]:
    """Somebody who asks, and hears answers."""
    with house.connected("asker") as transport:
        asker = Asker(house, transport)
        listener = threading.Thread(target=asker.listen)
        listener.start()
        try:
            yield asker
        finally:
            asker.over.set()
            listener.join()


@pytest.fixture
def asked(house: Household) -> Household:
    """A device that serves version 1, and takes requests from the broker."""
    text = house.config.read_text("utf-8")
    house.config.write_text(f"{text}\n[serving]\nmqtt = true\n", "utf-8")
    house.release(first(), 1)
    house.start_agent()
    house.until(lambda: house.serves("1"), "version 1 is served")
    return house


def test_a_request_is_answered_with_who_answered(asked: Household) -> None:
    with asking(asked) as asker:
        asker.ask("one")
        found = asker.answer("one")
        assert (found["status"], found["body"]) == (200, {"predictions": [6.0]})
        assert (found["version"], found["sha256"]) == ("1", first().sha256)
        second = made(version="2", scale=3.0)
        asked.release(second, 2)
        asked.until(lambda: asked.serves("2"), "version 2 is served")
        asker.ask("two")
        found = asker.answer("two")
        assert (found["body"], found["sha256"]) == ({"predictions": [9.0]}, second.sha256)


@pytest.mark.parametrize(
    ("body", "model", "status", "words"),
    [
        (b'{"dataframe_records": [{"a": 1}]}', MODEL, 400, "missing inputs ['b']"),
        (b"{", MODEL, 400, "JSON"),
        (b"", MODEL, 400, ""),
        (ROWS, "beer", 404, "not served here"),
    ],
    ids=["missing column", "no JSON", "empty", "unknown model"],
)
def test_a_bad_request_is_refused_as_over_http(
    asked: Household, body: bytes, model: str, status: int, words: str
) -> None:
    with asking(asked) as asker:
        asker.ask("bad", body, model)
        found = asker.answer("bad")
        assert found["status"] == status
        assert words in found["body"]["message"]
        asker.ask("good")
        assert asker.answer("good")["status"] == 200


def test_a_flood_is_told_to_come_back_and_nothing_is_answered_twice(
    asked: Household,
) -> None:
    """The worker is held meanwhile: few wait for it, the others hear so at once."""
    flood = 5 * MAX_WAITING
    with asking(asked) as asker:
        worker = asked.worker()
        os.kill(worker, signal.SIGSTOP)
        for number in range(flood):
            asker.ask(f"q{number}")
        refused = flood - MAX_WAITING - 1  # and one is under way
        asked.until(lambda: len(asker.answers) >= refused, "the others are told")
        os.kill(worker, signal.SIGCONT)
        asked.until(lambda: len(asker.answers) == flood, "everybody has an answer")
        asker.ask("after")
        assert asker.answer("after")["status"] == 200
        statuses = [asker.answers[f"q{number}"][0]["status"] for number in range(flood)]
        assert statuses.count(503) >= refused
        assert set(statuses) <= {200, 503}
        told = asker.answers[f"q{flood - 1}"][0]["body"]
        assert told["error_code"] == "REQUEST_LIMIT_EXCEEDED"
        assert all(len(found) == 1 for found in asker.answers.values())
    assert asked.worker() == worker


def test_a_retained_request_is_none_and_the_next_one_is_answered(asked: Household) -> None:
    with asking(asked) as asker:
        topic = asked.topics.ask(DEVICE, MODEL, "kept")
        asker.transport.publish(topic, ROWS, qos=1, retain=True)
        asker.answer("kept")  # live, it is a request like any other
        asked.stop("agent")
        asked.start_agent()
        asked.until(lambda: "retained, a request is not" in asked.log, "it is ignored")
        asked.until(lambda: asked.serves("1"), "version 1 is served")
        asker.ask("next")
        assert asker.answer("next")["status"] == 200
        assert len(asker.answers["kept"]) == 1


def test_after_a_restart_of_the_broker_requests_are_answered_again(
    asked: Household,
) -> None:
    port = urlsplit(asked.broker.url).port or 0
    asked.broker.kill()
    asked.restart_broker(port)
    with asking(asked) as asker:
        asked.until(lambda: _answered(asker), "the device takes requests again")


def _answered(asker: Asker) -> bool:
    """Ask once more; whether any was answered yet."""
    asker.ask(f"again{len(asker.answers)}")
    return any(found[0]["status"] == 200 for found in asker.answers.values())
