"""The floor under what was accepted, for any order of what arrives."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import TrustError
from edgekit.trust.floor import EPOCH, Floor, RolloutFloor

ONLINE = frozenset({"aa", "bb"})
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - hypothesis adds none
    lambda t: t.replace(microsecond=0, tzinfo=UTC)
)
KEYS = st.frozensets(st.sampled_from(["aa", "bb", "cc"]))


@given(
    issued=TIMES,
    keys=KEYS,
    versions=st.dictionaries(st.text(), st.integers(0, 2**53)),
    rollouts=st.dictionaries(
        st.text(), st.builds(RolloutFloor, rollout=st.integers(0, 2**53), keyids=KEYS)
    ),
)
def test_a_floor_survives_its_file(
    issued: datetime,
    keys: frozenset[str],
    versions: dict[str, int],
    rollouts: dict[str, RolloutFloor],
) -> None:
    floor = Floor(
        fleet="f", issued=issued, online_keyids=keys, versions=versions, rollouts=rollouts
    )
    assert Floor.from_json(floor.to_json()) == floor


@given(st.lists(st.integers(1, 9), min_size=1))
def test_versions_never_sink_whatever_arrives(arriving: list[int]) -> None:
    floor = Floor(fleet="f").under_root(1, ONLINE)
    for version in arriving:
        highest = floor.versions.get("timestamp", 0)
        try:
            floor = floor.with_versions({"timestamp": version})
        except TrustError:
            assert version < highest
        assert floor.versions["timestamp"] == max(version, highest)


@given(st.lists(TIMES))
def test_the_time_never_sinks(times: list[datetime]) -> None:
    floor = Floor(fleet="f")
    for time in times:
        floor = floor.with_issued(time)
    assert floor.issued == max(times, default=EPOCH)


def test_a_refused_version_raises_nothing() -> None:
    floor = Floor(fleet="f", versions={"models": 3})
    with pytest.raises(
        TrustError, match="models: version 2, older than version 3 accepted"
    ):
        floor.with_versions({"timestamp": 9, "models": 2})
    assert "timestamp" not in floor.versions


def test_adding_an_online_key_lifts_nothing_and_revoking_one_lifts_all() -> None:
    issued = EPOCH + timedelta(days=9)
    floor = Floor(fleet="f").under_root(1, ONLINE).with_versions({"timestamp": 9})
    floor = floor.with_issued(issued).under_root(2, ONLINE | {"cc"})
    assert (floor.versions["timestamp"], floor.issued) == (9, issued)
    floor = floor.under_root(3, frozenset({"bb", "cc"}))
    assert (dict(floor.versions), floor.issued) == ({"root": 3}, EPOCH)


def test_the_root_never_sinks_even_when_keys_were_revoked() -> None:
    floor = Floor(fleet="f").under_root(3, ONLINE)
    with pytest.raises(TrustError, match="root: version 2, older than version 3 accepted"):
        floor.under_root(2, frozenset({"cc"}))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"fleet":"f","issued":"soon"}', b"\xff", b"null"]
)
def test_a_damaged_floor_is_told(data: bytes) -> None:
    with pytest.raises(TrustError):
        Floor.from_json(data)
