import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgekit import board
from edgekit.address import BrokerAddress
from edgekit.errors import ConfigError
from edgekit.fleet.enroll import Provision

ROOT = b'{"signed": {"x": "\\u00fc \\"quoted\\" \'\'\' \\\\"}, "signatures": []}'


def provision(**changes: Any) -> Provision:  # noqa: ANN401 - any field of it
    return Provision(
        **{
            "fleet": "demo",
            "device": "pi-7",
            "board": board.load("raspberry-pi-4"),
            "broker": BrokerAddress(
                url="mqtts://broker:8883", ca_file=Path("/etc/edgekit/ca.pem")
            ),
            "root": ROOT,
            "models": (("wine", "production"), ("anomaly detector", "staging")),
            **changes,
        }
    )


def test_the_file_holds_all_that_the_device_must_know() -> None:
    profile = board.load("raspberry-pi-4")

    assert tomllib.loads(provision().to_toml()) == {
        "format": 1,
        "fleet": "demo",
        "device": "pi-7",
        "board": "raspberry-pi-4",
        "arch": "aarch64",
        "state_dir": "/var/lib/edgekit",
        "runtime_dir": "/run/edgekit",
        "enforcement": "strict",
        "telemetry_interval_s": 60,
        "staleness": "refuse",
        "root": ROOT.decode(),
        "broker": {"url": "mqtts://broker:8883", "ca_file": "/etc/edgekit/ca.pem"},
        "limits": {
            "model_ram_mb": profile.model_ram_mb,
            "model_flash_mb": profile.model_flash_mb,
        },
        "models": [
            {"name": "wine", "stage": "production"},
            {"name": "anomaly detector", "stage": "staging"},
        ],
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"device": " "}, "a printable name is expected"),
        ({"device": "pi\x1b[2J"}, "a printable name is expected"),
        ({"device": "x" * 101}, "101 characters, up to 100 are expected"),
        ({"models": ()}, "no models to follow; name one with --model NAME:STAGE"),
        (
            {"models": (("wine", "a"), ("wine", "b"))},
            "a model is there twice; one stage of each is expected",
        ),
        ({"state_dir": "state"}, "state: an absolute path is expected"),
        ({"runtime_dir": "/" + "r" * 87}, "a path of at most 87 bytes is expected"),
    ],
)
def test_what_the_agent_would_refuse_is_never_written(
    changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        provision(**changes)
