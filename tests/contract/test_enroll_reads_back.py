"""The operator writes the provisioning file, the agent reads it: the same words."""

from pathlib import Path

import pytest

from edgekit import board
from edgekit.address import BrokerAddress
from edgekit.fleet import enroll
from edgekit.fleet.enroll import Provision
from edgekit_agent import config as agent

FLEET = "ünï fleet"
SIGNED = f'{{"_type": "root", "x-edgekit-fleet": "{FLEET}"}}'
ROOT = f'{{"signatures": [], "signed": {SIGNED}}}\n'.encode()


@pytest.mark.parametrize("profile", board.shipped())
def test_the_agent_reads_what_enrolling_wrote(profile: str) -> None:
    known = board.load(profile)
    broker = BrokerAddress(
        url="mqtts://broker.example:8883",
        username="pi-7",
        password_file=Path("/etc/edgekit/password"),
        ca_file=Path("/etc/edgekit/ca.pem"),
        cert_file=Path("/etc/edgekit/cert.pem"),
        key_file=Path("/etc/edgekit/key.pem"),
    )
    written = Provision(
        fleet=FLEET,
        device="hall 2/press 7",
        board=known,
        broker=broker,
        root=ROOT,
        models=(("wine", "production"), ("anomaly detector", "staging")),
        state_dir="/srv/edgekit",
        runtime_dir="/srv/run",
        enforcement="mlflow",
        telemetry_interval_s=5,
    ).to_toml()

    read = agent.parse(written, subject="agent.toml")

    assert (read.fleet, read.device) == ("ünï fleet", "hall 2/press 7")
    assert (read.board, read.arch) == (profile, known.arch)
    assert (read.state_dir, read.runtime_dir) == (Path("/srv/edgekit"), Path("/srv/run"))
    assert (read.enforcement, read.telemetry_interval_s) == ("mlflow", 5)
    assert read.root == ROOT
    assert read.broker == broker
    assert read.limits.model_ram_bytes == known.model_ram_mb * 2**20
    assert read.limits.model_flash_bytes == known.model_flash_mb * 2**20
    assert [(m.model, m.stage) for m in read.models] == [
        ("wine", "production"),
        ("anomaly detector", "staging"),
    ]


def test_the_defaults_and_the_words_are_the_agents() -> None:
    assert enroll.ENFORCEMENTS == agent.ENFORCEMENTS
    assert enroll.FORMAT == agent.FORMAT
    assert Path("/var/lib/edgekit") == Path(enroll.DEFAULT_STATE_DIR)
