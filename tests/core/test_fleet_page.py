"""docs/formats/fleet.md tells every key, and its example is read."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from edgekit.address import BrokerAddress
from edgekit.fleet import config as fleet_config
from edgekit.fleet.config import ModelSettings, RegistrySettings, ReleaseSettings

PAGE = (Path(__file__).parents[2] / "docs/formats/fleet.md").read_text("utf-8")
KEYS = PAGE.partition("Beside it")[0]
EXAMPLE = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0]


def test_the_example_is_read() -> None:
    config = fleet_config.parse(EXAMPLE, subject="page", folder=Path("/fleet"))

    written = fleet_config.to_table(config, folder=Path("/fleet"))
    assert written == tomllib.loads(EXAMPLE)


def test_every_key_is_told_and_no_other() -> None:
    settings = {
        "broker": BrokerAddress,
        "registry": RegistrySettings,
        "release": ReleaseSettings,
        "models.*": ModelSettings,
    }
    known = {f"{name}.{f.name}" for name, kind in settings.items() for f in fields(kind)}

    told = set(re.findall(r"^\| `([a-z_.*]+)` \|", KEYS, re.MULTILINE))
    assert told == known | {"format", "fleet", "stages.*.selector"}
