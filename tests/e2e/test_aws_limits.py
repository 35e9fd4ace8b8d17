"""Everything a device and a depot say on the wire, held against AWS IoT Core's limits.

A real session is recorded by a proxy that reads MQTT itself. The limits are those of "AWS
IoT Core message broker and protocol limits and quotas", as of November 2026.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from edgekit.statement import pointer_path, record_path, slug
from edgekit.trust.layout import statement_file
from edgekit.trust.receipt import generate
from edgekit.wire import MAX_PAYLOAD_BYTES, Topics
from tests.agent.making import made
from tests.e2e.household import Household, household
from tests.wiretap import Kind, Packet, Wiretap

CLIENT_ID_BYTES = 128
TOPIC_BYTES = 256
SLASHES = 7
PAYLOAD_BYTES = 128 * 1024
FILTERS_A_REQUEST = 8
SUBSCRIPTIONS_A_CONNECTION = 50
QOS = 1
KEEPALIVE_S = range(1, 1201)

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0, padding_bytes=300_000)


@dataclass
class Recorded:
    """What passed in one life of a device: start, release, update, rollback, end."""

    packets: list[Packet]

    def of(self, kind: Kind) -> list[Packet]:
        return [packet for packet in self.packets if packet.kind == kind]

    @property
    def topics(self) -> set[str]:
        published = {packet.topic for packet in self.of(Kind.PUBLISH)}
        asked = {topic for p in self.of(Kind.SUBSCRIBE) for topic, _ in p.filters}
        wills = {packet.will_topic for packet in self.of(Kind.CONNECT)}
        return {*published, *asked, *wills} - {""}


@pytest.fixture(scope="module")
def session() -> Iterator[Recorded]:
    with household() as house, tapped(house) as wiretap:
        path = house.folder / "agent.toml"
        text = path.read_text("utf-8")
        key = house.folder / "receipt.key"
        key.write_bytes(generate()[0])
        key.chmod(0o600)
        settings = 'home_assistant = "homeassistant"\nreceipt_key_file = "receipt.key"\n'
        path.write_text(settings + text, "utf-8")
        house.stop("depot")
        house.start_depot()
        house.release(FIRST, 1)
        house.start_agent()
        house.until(lambda: house.serves("1"), "version 1 is served")
        house.release(SECOND, 2)
        house.until(lambda: house.serves("2"), "version 2 is served")
        house.release(FIRST, 3)
        house.until(lambda: house.serves("1"), "version 1 is served again")
        house.stop("agent")
        yield Recorded(wiretap.seen())


def tapped(house: Household) -> Wiretap:
    """Send device and depot through a proxy."""
    address = house.broker.url
    wiretap = Wiretap(int(address.rpartition(":")[2]))
    for path in (house.folder / "agent.toml", house.folder / "fleet" / "fleet.toml"):
        text = path.read_text("utf-8")
        assert address in text
        path.write_text(text.replace(address, f"mqtt://127.0.0.1:{wiretap.port}"), "utf-8")
    return wiretap


@pytest.mark.slow
@pytest.mark.broker
def test_the_session_that_was_recorded_is_whole(session: Recorded) -> None:
    clients = {packet.client_id for packet in session.of(Kind.CONNECT)}
    assert {"edgekit-pi-7", "edgekit-pi-7-updater"} < clients
    assert any(client.startswith("edgekit-depot-farm") for client in clients)
    last = [topic.rpartition("/")[2] for topic in session.topics]
    own = {
        "want",
        "state",
        "presence",
        "receipt",
        "telemetry",
        "taken",
        "figures",
        "config",
    }
    assert {"index", "timestamp%2Ejson"} | own <= {*last}
    assert any("/blob/" in topic for topic in session.topics)


@pytest.mark.slow
@pytest.mark.broker
def test_every_topic_and_filter_is_short_and_shallow_enough(session: Recorded) -> None:
    for topic in session.topics:
        assert len(topic.encode()) <= TOPIC_BYTES, topic
        assert topic.count("/") <= SLASHES, topic
        assert not topic.startswith("$"), topic


@pytest.mark.slow
@pytest.mark.broker
def test_every_message_is_small_enough(session: Recorded) -> None:
    largest = max(session.of(Kind.PUBLISH), key=lambda packet: packet.length)
    assert "/blob/" in largest.topic
    assert largest.length <= PAYLOAD_BYTES
    for packet in session.of(Kind.CONNECT):
        assert len(packet.will_payload) <= PAYLOAD_BYTES


@pytest.mark.slow
@pytest.mark.broker
def test_quality_of_service_is_0_or_1_everywhere(session: Recorded) -> None:
    asked = {qos for p in session.of(Kind.SUBSCRIBE) for _, qos in p.filters}
    assert max(asked) <= QOS
    assert max(packet.qos for packet in session.of(Kind.PUBLISH)) <= QOS


@pytest.mark.slow
@pytest.mark.broker
def test_filters_are_asked_for_a_few_at_a_time(session: Recorded) -> None:
    requests = session.of(Kind.SUBSCRIBE)
    assert max(len(packet.filters) for packet in requests) <= FILTERS_A_REQUEST
    by_client: dict[str, set[str]] = {}
    for packet in requests:
        by_client.setdefault(packet.client_id, set()).update(t for t, _ in packet.filters)
    # The updater lets go of each file it has read; this counts as if it never did.
    assert max(map(len, by_client.values())) <= SUBSCRIPTIONS_A_CONNECTION


@pytest.mark.slow
@pytest.mark.broker
def test_nothing_is_retained_that_need_not_be(session: Recorded) -> None:
    """Retained messages are counted for each account there; chunks never are."""
    kept = {p.topic for p in session.of(Kind.PUBLISH) if p.from_client and p.retain}
    of_bundles = {topic.rpartition("/")[2] for topic in kept if "/blob/" in topic}
    assert of_bundles <= {"delta"}
    assert not [topic for topic in kept if topic.endswith("/want")]
    assert {"index", "state", "presence"} <= {topic.rpartition("/")[2] for topic in kept}


@pytest.mark.slow
@pytest.mark.broker
def test_client_ids_and_keep_alives_are_allowed(session: Recorded) -> None:
    for packet in session.of(Kind.CONNECT):
        assert 0 < len(packet.client_id.encode()) <= CLIENT_ID_BYTES
        assert packet.keepalive_s in KEEPALIVE_S
        assert not packet.client_id.startswith("$")


def test_no_message_may_be_longer_than_any_broker_takes() -> None:
    topic = "x" * TOPIC_BYTES
    assert MAX_PAYLOAD_BYTES + len(topic) + 9 <= PAYLOAD_BYTES


@pytest.mark.parametrize("length", [10, 25, 46])
def test_names_of_up_to_46_letters_fit_every_topic(length: int) -> None:
    """What docs/operations.md says: fleet, stage and model, 140 bytes together."""
    fleet = stage = model = version = device = "n" * length
    topics = Topics(fleet=fleet)
    longest = [
        topics.file(statement_file(pointer_path(stage, model), "0" * 64)),
        topics.file(statement_file(record_path(model, version), "0" * 64)),
        topics.file(f"999999.stage-{slug(stage)}.json"),
        topics.file(f"index/{'0' * 64}"),
        topics.blob("0" * 64),
        topics.repair("0" * 64),
        topics.telemetry(device),
        topics.taken(device),
        topics.figures(device),
        topics.ask(device, model, "c" * 64),
    ]
    for topic in longest:
        assert len(topic.encode()) <= TOPIC_BYTES, (len(topic), topic)
        assert topic.count("/") <= SLASHES, topic
    assert len(f"edgekit-{slug(device)}-updater") <= CLIENT_ID_BYTES
