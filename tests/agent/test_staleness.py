"""Whether a device knows that it no longer knows what is newest, and what it does then."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.trust.floor import Floor
from edgekit_agent.config import parse
from edgekit_agent.diagnosis.finding import Level
from edgekit_agent.diagnosis.system import freshness
from edgekit_agent.staleness import Staleness
from edgekit_agent.supervision.freshness import Freshness, FreshnessFile
from tests.agent.running import configuration
from tests.trust.device import Device
from tests.trust.simulator import DAY, NOW, Simulator

UNTIL = NOW + 30 * DAY
KNOWN = Floor(fleet="demo", issued=NOW, fresh_until=UNTIL)
SECOND = timedelta(seconds=1)
IN_1970, IN_2040 = datetime(1970, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "stale"),
    [
        (IN_1970, False),
        (NOW, False),
        (UNTIL - SECOND, False),
        (UNTIL, True),
        (IN_2040, True),
    ],
)
def test_it_is_stale_from_the_first_expiry_on(now: datetime, *, stale: bool) -> None:
    assert KNOWN.is_stale(now) is stale


def test_a_clock_in_1970_is_stale_when_a_later_signed_time_was_seen() -> None:
    """The timestamp was read, and what follows it never came."""
    later = KNOWN.with_issued(UNTIL + DAY)
    assert later.is_stale(IN_1970)


def test_without_any_refresh_nothing_is_stale() -> None:
    assert not Floor(fleet="demo").is_stale(IN_2040)


def test_a_refresh_remembers_the_first_expiry_of_all_it_accepted(tmp_path: Path) -> None:
    operator = Simulator()
    operator.release("1", 1)
    device = Device(folder=tmp_path, root=operator.trusted_root, source=operator)
    device.resolve()
    assert floor_of(tmp_path).fresh_until == UNTIL
    operator.snapshot.expires = NOW + 5 * DAY
    operator.offer()
    device.resolve()
    assert floor_of(tmp_path).fresh_until == NOW + 5 * DAY
    operator.advance(4 * DAY)
    operator.offer()
    device.now = operator.now
    device.resolve()
    assert floor_of(tmp_path).fresh_until == operator.now + 30 * DAY


def test_a_refused_refresh_prolongs_nothing(tmp_path: Path) -> None:
    operator = Simulator()
    operator.release("1", 1)
    device = Device(folder=tmp_path, root=operator.trusted_root, source=operator)
    device.resolve()
    operator.advance(10 * DAY)
    operator.offer()
    del operator.files[f"{operator.snapshot.version}.snapshot.json"]
    with pytest.raises(Exception, match="not offered"):
        device.resolve()
    assert floor_of(tmp_path).fresh_until == UNTIL


def floor_of(folder: Path) -> Floor:
    return Floor.from_json((folder / "floor.json").read_bytes())


def test_a_floor_written_before_freshness_was_known_is_read() -> None:
    old = KNOWN.to_json().replace(b'"fresh_until":"2026-07-01T00:00:00Z",', b"")
    assert Floor.from_json(old).fresh_until is None


def test_the_resident_process_reads_the_floor(tmp_path: Path) -> None:
    file = FreshnessFile(tmp_path)
    assert file.judge("2040-01-01T00:00:00Z") == Freshness()
    (tmp_path / "floor.json").write_bytes(KNOWN.to_json())
    assert file.judge("2040-01-01T00:00:00Z") == Freshness(), "it was not read again"
    file.read()
    until = "2026-07-01T00:00:00Z"
    assert file.judge("2026-06-02T00:00:00Z") == Freshness(until=until, stale=False)
    assert file.judge("2040-01-01T00:00:00Z") == Freshness(until=until, stale=True)
    (tmp_path / "floor.json").write_bytes(b"\0" * 100)
    file.read()
    assert file.judge("2040-01-01T00:00:00Z") == Freshness()


@pytest.mark.parametrize("policy", Staleness)
def test_only_one_policy_ends_serving_and_only_one_doubts_the_clock(
    policy: Staleness,
) -> None:
    assert policy.may_serve(stale=False)
    assert policy.may_serve(stale=True) is (policy is not Staleness.STOP)
    assert policy.believes_clock is (policy is not Staleness.ACCEPT)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Staleness.REFUSE, "nothing new is taken, what serves goes on"),
        (Staleness.ACCEPT, "news is still taken"),
        (Staleness.STOP, "no request is answered"),
    ],
)
def test_the_doctor_says_what_expired_and_what_follows(
    policy: Staleness, words: str
) -> None:
    found = freshness(IN_2040, KNOWN, policy)
    assert found.level is Level.TROUBLE
    assert "expired on 2026-07-01 00:00 UTC" in found.fact
    assert words in found.fact
    assert "set the clock" in found.advice
    assert freshness(NOW, KNOWN, policy).level is Level.OK
    assert freshness(NOW, Floor(fleet="demo"), policy).level is Level.NOTE


def test_the_policy_is_read_and_a_wrong_one_named(tmp_path: Path) -> None:
    assert configuration(tmp_path, ("wine",)).staleness is Staleness.REFUSE
    text = """
        format = 1
        fleet = "demo"
        device = "pi-7"
        board = "pi"
        staleness = "{}"
        root = '{{"signed": {{"_type": "root", "x-edgekit-fleet": "demo"}}}}'
        [broker]
        url = "mqtt://localhost:1"
        [limits]
        model_ram_mb = 1
        model_flash_mb = 1
        [[models]]
        name = "wine"
        stage = "production"
        """
    for policy in Staleness:
        assert parse(text.format(policy), subject="x").staleness is policy
    with pytest.raises(ConfigError, match="staleness: one of refuse, accept, stop"):
        parse(text.format("ignore"), subject="x")
