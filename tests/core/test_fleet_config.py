from pathlib import Path

import pytest

from edgekit.address import BrokerAddress
from edgekit.errors import ConfigError
from edgekit.fleet import config as fleet_config
from edgekit.fleet.config import (
    FleetConfig,
    ModelSettings,
    RegistrySettings,
    ReleaseSettings,
)
from edgekit.registry.uri import Selector, SelectorKind

SMALLEST = """
format = 1
fleet = "demo"
[broker]
url = "mqtt://localhost:1883"
[stages.production]
selector = "stage:production"
"""
FULL = FleetConfig(
    fleet="ünï fleet",
    broker=BrokerAddress(
        url="mqtts://broker.example:8883",
        username="operator",
        password_file=Path("/fleet/secret"),
        ca_file=Path("/etc/ca.pem"),
    ),
    stages={
        "production": Selector(kind=SelectorKind.STAGE, name="Production"),
        "canary": Selector(kind=SelectorKind.ALIAS, name="edge-canary"),
    },
    registry=RegistrySettings(uri="http://mlflow.example", trust_pickle=True),
    release=ReleaseSettings(boards=("raspberry-pi-4",), max_drop=0.015, proven_only=True),
    models={
        "anomaly detector": ModelSettings(
            samples=Path("/fleet/rows.csv"),
            target="y",
            metric="auc",
            score="reconstruction",
            group="clip",
        ),
        "wine": ModelSettings(),
    },
)


def parse(text: str) -> FleetConfig:
    return fleet_config.parse(text, subject="fleet.toml", folder=Path("/fleet"))


def test_defaults_are_filled_in() -> None:
    assert parse(SMALLEST) == FleetConfig(
        fleet="demo",
        broker=BrokerAddress(url="mqtt://localhost:1883"),
        stages={"production": Selector(kind=SelectorKind.STAGE, name="Production")},
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    fleet_config.write(tmp_path, FULL)

    assert fleet_config.load(tmp_path) == FULL


def test_paths_inside_the_fleet_folder_are_written_relative_to_it() -> None:
    table = fleet_config.to_table(FULL, folder=Path("/fleet"))

    assert table["models"] == {
        "anomaly detector": {
            "samples": "rows.csv",
            "target": "y",
            "metric": "auc",
            "score": "reconstruction",
            "group": "clip",
        },
        "wine": {},
    }
    assert table["broker"] == {
        "url": "mqtts://broker.example:8883",
        "username": "operator",
        "password_file": "secret",
        "ca_file": "/etc/ca.pem",
    }


def test_relative_paths_start_at_the_fleet_folder() -> None:
    config = parse(SMALLEST + '[models.wine]\nsamples = "data/holdout.csv"\n')

    assert config.models["wine"].samples == Path("/fleet/data/holdout.csv")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            SMALLEST + "[releases]\n",
            "fleet.toml: unknown key releases; did you mean release?",
        ),
        (
            SMALLEST + "[release]\nmaxdrop = 1\n",
            "fleet.toml: release: unknown key maxdrop; did you mean max_drop?",
        ),
        (
            SMALLEST + '[models.wine]\nmetric = "acuracy"\n',
            (
                "fleet.toml: models: wine: metric: one of auto, accuracy, macro-f1, recall,"
                " auc, average-precision, flips, rmse, relative-error is expected"
            ),
        ),
        (
            SMALLEST + "[release]\nmax_drop = 0.5\n",
            (
                "fleet.toml: release: max_drop: a share from 0 to less than 0.5 (0.005 is"
                " half a percent) is expected"
            ),
        ),
        (
            SMALLEST + '[stages.canary]\nselektor = "@x"\n',
            "fleet.toml: stages: canary: unknown key selektor; did you mean selector?",
        ),
        (
            SMALLEST + '[stages.canary]\nselector = "stage:Produktion"\n',
            (
                "fleet.toml: stages: canary: 'Produktion' is no MLflow stage; did you mean"
                " Production? Staging, Production and Archived exist, and any other name is"
                " an alias, written with @"
            ),
        ),
        (
            SMALLEST + '[stages.canary]\nselector = "canary"\n',
            (
                "fleet.toml: stages: canary: 'canary': an alias (\"@production\") or a"
                ' stage ("stage:Production") is expected'
            ),
        ),
        (
            SMALLEST.replace("format = 1", "format = 2"),
            "fleet.toml: format: a whole number from 1 to 1 is expected",
        ),
        (SMALLEST.replace('"demo"', '" "'), "fleet.toml: fleet: a name is expected"),
        (
            SMALLEST.partition("[stages")[0] + "[stages]\n",
            (
                "fleet.toml: stages: at least one table such as [stages.production] is"
                " expected"
            ),
        ),
        (
            SMALLEST.replace("url", "ulr"),
            "fleet.toml: broker: unknown key ulr; did you mean url?",
        ),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)

    assert str(raised.value) == sentence


def test_a_folder_without_a_fleet_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        fleet_config.load(tmp_path)

    assert str(raised.value) == (
        f"{tmp_path}: no fleet.toml here; make a fleet with `edgekit init {tmp_path}`, or"
        " name its folder with --fleet"
    )


def test_a_file_that_is_not_toml_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text("fleet = ")

    with pytest.raises(ConfigError, match="not TOML"):
        fleet_config.load(tmp_path)
