"""What is persisted of a model, and read back."""

import json

from edgekit.figures import Figures, ShadowFigures
from edgekit_agent.rules.hook import Answer, Hook, HookRun
from edgekit_agent.rules.record import (
    Attempt,
    Phase,
    Record,
    Refusal,
    Trouble,
    TroubleKind,
)
from tests.agent.stepping import (
    NEW,
    OLD,
    fetching,
    proving,
    release,
)


def test_the_bundles_of_a_running_update_are_needed() -> None:
    assert proving().record.needed == {OLD.sha256, NEW.sha256}
    assert fetching().restarted().record.needed == {OLD.sha256, NEW.sha256}


def test_attempts_are_reported_as_one_number() -> None:
    attempt = Attempt(rollout=1, sha256=NEW.sha256, interrupted=2, proofs=3)
    assert attempt.count == 5


def test_a_record_with_everything_in_it_is_read_back_as_it_was() -> None:
    shadow = ShadowFigures(rows=9, agreed=8, failed=1, difference=0.5, labels=True)
    trouble = Trouble(
        kind=TroubleKind.NOT_NOW, error="E", reason="r", at="a", sha256="b" * 64, again_s=9
    )
    full = Record(
        model="wine",
        stage="p",
        phase=Phase.ASKING,
        current=OLD,
        previous=release("c", 1),
        candidate=NEW,
        attempt=Attempt(rollout=2, sha256=NEW.sha256, interrupted=1, proofs=2),
        trouble=trouble,
        probation=True,
        crashes=1,
        unconfirmed=True,
        hook=HookRun(
            hook=Hook.PRE_ACTIVATE, answer=Answer.BROKE, output="o", took_ms=3, at="a"
        ),
        refused=(Refusal(rollout=2, flavor="int8", sha256="d" * 64, reason="r"),),
        proof=Figures(
            sha256=NEW.sha256,
            rows=3,
            difference=0.25,
            load_us=1,
            one_row_p50_us=2,
            one_row_p95_us=3,
            peak_rss_bytes=4,
            shadow=shadow,
        ),
        pace_us=7,
        pause_ms=0,
    )
    assert Record.from_json(full.to_json(), subject="record") == full


def test_a_record_of_an_older_agent_is_read() -> None:
    fields = json.loads(Record(model="wine", stage="p").to_json())
    newer = ("unconfirmed", "hook", "refused", "proof", "pace_us", "pause_ms")
    old = {key: value for key, value in fields.items() if key not in newer}
    assert Record.from_json(json.dumps(old).encode(), subject="record") == Record(
        model="wine", stage="p"
    )
