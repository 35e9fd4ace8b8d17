from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.schema import Enforcement
from edgekit_agent.config import (
    DEFAULT_PATH,
    ENFORCEMENTS,
    Environment,
    load,
    parse,
)
from edgekit_agent.subscription import Subscription

GOOD = """
format = 1
fleet = "demo"
device = "pi-7"
board = "raspberry-pi-4"
arch = "aarch64"
state_dir = "/var/lib/edgekit"
runtime_dir = "/run/edgekit"
enforcement = "strict"
telemetry_interval_s = 30
root = '''{"signed": {"_type": "root", "x-edgekit-fleet": "demo"}}'''
[broker]
url = "mqtt://localhost:1883"
[limits]
model_ram_mb = 512
model_flash_mb = 1024
[[models]]
name = "wine"
stage = "production"
"""


def test_a_provisioning_file_is_read_whole() -> None:
    config = parse(GOOD, subject="agent.toml")
    assert config.device == "pi-7"
    assert config.root == b'{"signed": {"_type": "root", "x-edgekit-fleet": "demo"}}'
    assert config.limits.model_ram_bytes == 512 * 2**20
    assert config.models == (Subscription(model="wine", stage="production"),)
    assert config.socket == Path("/run/edgekit/agent.sock")
    assert config.subscription("wine").stage == "production"


def test_a_model_has_its_own_budget_within_the_devices() -> None:
    text = GOOD + "ram_mb = 64\nflash_mb = 4096\n"
    config = parse(text, subject="agent.toml")
    assert config.ram_bytes("wine") == 64 * 2**20
    assert config.flash_bytes("wine") == 1024 * 2**20
    assert parse(GOOD, subject="agent.toml").ram_bytes("wine") == 512 * 2**20


def test_a_port_and_the_broker_serve_only_if_they_are_named() -> None:
    text = "[serving]\nport = 8080\nmqtt = true\ntime_limit_s = 120\n"
    config = parse(GOOD + text, subject="agent.toml")
    assert (config.serving.port, config.serving.mqtt) == (8080, True)
    assert config.serving.limit_s == 120
    config = parse(GOOD, subject="agent.toml")
    assert (config.serving.port, config.serving.mqtt) == (None, False)


def test_telemetry_is_bounded_and_home_assistant_is_told_only_if_it_is_named() -> None:
    config = parse(GOOD, subject="agent.toml")
    assert config.telemetry_spool_bytes == 2**20
    assert config.telemetry_bytes_a_day == 4 * 2**20
    assert config.home_assistant is None
    text = GOOD.replace("[broker]", 'home_assistant = "site/ha"\n[broker]')
    assert parse(text, subject="agent.toml").home_assistant == "site/ha"


def test_hooks_may_lie_elsewhere() -> None:
    text = GOOD + '[hooks]\ndir = "/opt/hooks"\ntime_limit_s = 5\n'
    assert parse(text, subject="agent.toml").hooks.folder == Path("/opt/hooks")
    assert parse(GOOD, subject="agent.toml").hooks.limit_s == 60


@pytest.mark.parametrize(
    ("good", "bad", "sentence"),
    [
        ("device =", "devise =", "unknown key devise; did you mean device?"),
        ("model_ram_mb", "model_ram", "unknown key model_ram; did you mean model_ram_mb?"),
        ('stage = "p', 'stag = "p', "unknown key stag; did you mean stage?"),
        ('"strict"', '"strickt"', "enforcement: one of strict, mlflow, off is expected"),
        ("= 30", "= 0", "telemetry_interval_s: a whole number from 1 to 86400"),
        ("[broker]", "telemetry_spool_kb = 4\n[broker]", "whole number from 128"),
        ("[broker]", "telemetry_kb_per_day = 0\n[broker]", "whole number from 16"),
        ("[broker]", "home_assistant = 'a/#'\n[broker]", "without + and #"),
        ("[broker]", "home_assistant = 'a//b'\n[broker]", "one to four levels"),
        ("[broker]", "home_assistant = ''\n[broker]", "a text that is not empty"),
        ("format = 1", "format = 2", "format: a whole number from 1 to 1 is expected"),
        ('"pi-7"', '"pi\\n7"', "device: a text without line breaks"),
        ('"wine"', '"wine"\nram_mb = 0', "ram_mb: a whole number from 1"),
        ("[limits]", "[serving]\nport = 0\n[limits]", "port: a whole"),
        ("[limits]", "[serving]\nprot = 1\n[limits]", "did you mean port?"),
        ("[limits]", "[hooks]\ntime_limit_s = 0\n[limits]", "time_limit_s: a whole"),
        ('"wine"', '"wine"\nleast_agreement = 95', "least_agreement: a number from 0 to 1"),
        ('"wine"', '"wine"\nmost_difference = -1', "most_difference: a number from 0 is"),
        ("[limits]", "[shadow]\nrow = 1\n[limits]", "unknown key row; did you mean rows?"),
        ('"pi-7"', '" "', "device: a text that is not empty is expected"),
        ('"/run/edgekit"', '"run"', "runtime_dir: an absolute path is expected"),
        ('"/run/edgekit"', f'"/{"r" * 87}"', "runtime_dir: a path of at most 87 bytes"),
        ("mqtt://", "http://", "mqtt://host:port"),
        ("model_ram_mb = 512", "model_ram_mb = 0", "model_ram_mb: a whole number from 1"),
        ("[[models]]", "[models]", "models: a list of objects is expected"),
        ("fleet =", "fleet", "not TOML"),
        ('"wine"', "7", "name: a text is expected"),
        ('{"signed"', '{"signed', "root: not JSON"),
        ('"signed"', '"sign"', "signed: an object is expected"),
        ('": "root"', '": "targets"', '_type: "root" is expected'),
        (
            'fleet": "demo"',
            'fleet": "other"',
            "the fleet of this file, 'demo', is expected",
        ),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(
    good: str, bad: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(good, bad, 1), subject="agent.toml")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(("agent.toml", "broker"))


def test_a_model_may_be_named_only_once() -> None:
    twice = GOOD + '[[models]]\nname = "wine"\nstage = "staging"\n'
    with pytest.raises(ConfigError, match="each model once"):
        parse(twice, subject="agent.toml")


def test_a_missing_file_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="edgekit device enroll"):
        load(tmp_path / "agent.toml")


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="it has wine"):
        parse(GOOD, subject="agent.toml").subscription("beer")


def test_the_enforcements_are_those_of_the_schema() -> None:
    assert set(ENFORCEMENTS) == {mode.value for mode in Enforcement}


def test_the_environment_is_read_once_and_forgiving() -> None:
    empty = Environment.read({})
    assert (empty.config, empty.notify_socket, empty.watchdog_s) == (
        DEFAULT_PATH,
        None,
        None,
    )
    full = Environment.read(
        {"EDGEKIT_AGENT_CONFIG": "/a", "NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000"}
    )
    assert (full.config, full.notify_socket, full.watchdog_s) == (Path("/a"), "@x", 30.0)
    assert Environment.read({"WATCHDOG_USEC": "soon"}).watchdog_s is None
