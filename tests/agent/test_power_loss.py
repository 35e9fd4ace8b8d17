"""What the rules make of a power cut, in whatever state it finds them."""

import pytest

from edgekit_agent.rules.events import (
    Fetched,
    Load,
    Loaded,
    Online,
    Resolved,
    WorkerReady,
)
from edgekit_agent.rules.record import (
    Phase,
    TroubleKind,
)
from tests.agent.stepping import (
    NEW,
    OLD,
    POLICY,
    Device,
    asking,
    checking,
    committing,
    fetching,
    proving,
)


@pytest.mark.parametrize("busy", [checking, fetching, proving, asking])
def test_a_power_cut_before_the_commit_takes_the_error_path(busy: object) -> None:
    assert callable(busy)
    found: Device = busy().restarted()
    assert found.record.phase is Phase.SERVING
    assert found.on(WorkerReady()).actions == [Load(release=OLD)]


def test_a_power_cut_after_the_commit_began_finishes_it() -> None:
    found = committing().restarted()
    assert found.record.phase is Phase.COMMITTING
    assert found.on(WorkerReady()).actions == [Load(release=NEW)]
    found.on(Loaded(sha256=NEW.sha256))
    assert found.record.previous == OLD


def test_a_commit_that_keeps_taking_the_device_down_is_given_up() -> None:
    found = committing()
    for _ in range(POLICY.interruptions):
        found.restarted()
    assert found.kind is TroubleKind.FAILED
    assert found.on(WorkerReady()).actions == [Load(release=OLD)]


def test_a_proof_that_keeps_taking_the_device_down_is_given_up() -> None:
    found = proving()
    for _ in range(POLICY.interruptions - 1):
        found.restarted().on(Online()).after(POLICY.backoff_most_s)
        found.on(Resolved(release=NEW, stored=True), Fetched(sha256=NEW.sha256))
    assert found.restarted().kind is TroubleKind.FAILED
    assert found.record.current == OLD


def test_a_fetch_cut_off_again_and_again_is_never_given_up() -> None:
    found = fetching()
    for _ in range(20):
        found.restarted().on(Online()).after(POLICY.backoff_most_s)
        found.on(Resolved(release=NEW, stored=False))
    assert found.record.phase is Phase.FETCHING
