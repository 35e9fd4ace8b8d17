"""A broker's address is refused where it was written, not where it is used."""

from pathlib import Path

import pytest

from edgekit.address import BrokerAddress
from edgekit.errors import ConfigError
from edgekit.mqtt import Backoff


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://localhost", "localhost", 1883, False),
        ("mqtt://10.0.0.1:2883/", "10.0.0.1", 2883, False),
        ("mqtts://broker.example", "broker.example", 8883, True),
        ("mqtt://[::1]:1884", "::1", 1884, False),
    ],
)
def test_urls_name_host_port_and_encryption(
    url: str, host: str, port: int, *, tls: bool
) -> None:
    address = BrokerAddress(url=url)
    assert (address.host, address.port, address.tls) == (host, port, tls)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:1883", "is expected"),
        ("http://localhost", "is expected"),
        ("mqtt://", "is expected"),
        ("mqtt://host:99999", "is expected"),
        ("mqtt://host:0", "is expected"),
        ("mqtt://" + "a" * 70, "is expected"),
        ("mqtt://me:secret@host", "password_file"),
        ("mqtt://host/topic", "nothing is expected after the port"),
    ],
)
def test_unusable_urls_are_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refusal:
        BrokerAddress(url=url)
    assert "secret" not in str(refusal.value)


def test_unknown_key_is_refused_with_the_nearest_spelling() -> None:
    with pytest.raises(ConfigError, match="did you mean username"):
        BrokerAddress.from_table({"url": "mqtt://h", "user_name": "x"}, subject="broker")


def test_tls_files_without_tls_are_refused() -> None:
    with pytest.raises(ConfigError, match="mqtts://"):
        BrokerAddress.from_table({"url": "mqtt://h", "ca_file": "ca.pem"}, subject="b")


def test_a_missing_certificate_is_a_configuration_error(tmp_path: Path) -> None:
    address = BrokerAddress(url="mqtts://h", ca_file=tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match="TLS files"):
        address.tls_context()


def test_a_missing_password_file_is_a_configuration_error(tmp_path: Path) -> None:
    address = BrokerAddress(url="mqtt://h", username="u", password_file=tmp_path / "no")
    with pytest.raises(ConfigError, match="password_file"):
        address.password()


def test_the_password_is_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("s3cret\nnot this\n")
    address = BrokerAddress(url="mqtt://h", username="u", password_file=tmp_path / "pw")
    assert address.password() == "s3cret"


def test_a_table_survives_the_round_trip() -> None:
    table = {"url": "mqtts://h:1", "username": "u", "password_file": "p", "ca_file": "c"}
    address = BrokerAddress.from_table(table, subject="broker")
    assert address.to_table() == table


def test_backoff_doubles_within_its_bounds_and_spreads() -> None:
    backoff = Backoff(first_s=1, most_s=10)
    longest = [backoff.delay_s(attempt, 1.0) for attempt in (0, 1, 2, 3, 4, 500)]
    assert longest == [1, 2, 4, 8, 10, 10]
    assert backoff.delay_s(3, 0.0) == pytest.approx(0.8)
