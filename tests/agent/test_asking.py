"""The rules of hooks: what the device's own programs say, without running any."""

from dataclasses import replace

import pytest

from edgekit_agent.rules.events import (
    Announced,
    Collect,
    Fetched,
    HookAnswered,
    Load,
    Loaded,
    Online,
    Proved,
    Resolved,
    RunHook,
    StartUpdate,
    StopUpdate,
    WorkerDied,
    WorkerReady,
)
from edgekit_agent.rules.hook import Answer, Hook
from edgekit_agent.rules.record import Phase, TroubleKind
from tests.agent.stepping import (
    GO,
    NEW,
    OLD,
    POLICY,
    WELL,
    Device,
    asking,
    committed,
    committing,
)

LATER = replace(
    GO, answer=Answer.NOT_NOW, reason="pre-activate: pump runs", again_s=900, ran=True
)
NO = replace(GO, answer=Answer.FAILED, reason="pre-activate: exit code 1: no", ran=True)
HUNG = replace(GO, answer=Answer.BROKE, reason="pre-activate: not done", ran=True)
ILL = replace(WELL, answer=Answer.FAILED, reason="post-activate: exit code 1", ran=True)


def unwell() -> Device:
    """The new version serves, and nobody has said yet that it is well."""
    return committing().on(Loaded(sha256=NEW.sha256))


def test_not_now_waits_for_the_time_it_names_and_then_asks_again() -> None:
    found = asking().on(LATER)
    trouble = found.record.trouble
    assert trouble is not None
    assert (trouble.kind, trouble.again_s) == (TroubleKind.NOT_NOW, 900)
    assert trouble.reason == "pre-activate: pump runs"
    assert found.record.phase is Phase.SERVING
    assert found.record.current == OLD
    assert NEW.sha256 in found.record.needed, "it is not fetched twice"
    found.announced(Resolved(release=NEW, stored=True))
    assert found.actions == [StopUpdate()], "announcements do not hasten it"
    assert found.after(900).actions == [StartUpdate()]
    found.on(Resolved(release=NEW, stored=True))
    question = RunHook(hook=Hook.PRE_ACTIVATE, release=NEW, instead_of=OLD)
    assert found.actions == [question, StopUpdate()], "it need not be proven twice"


def test_not_now_may_be_said_for_weeks() -> None:
    found = asking()
    for _ in range(1000):
        found.on(LATER).after(900).on(Resolved(release=NEW, stored=True))
    assert found.on(GO).actions == [Load(release=NEW)]


def test_a_newer_release_is_looked_into_while_the_device_says_not_now() -> None:
    found = asking().on(LATER)
    newer = replace(NEW, rollout=3, sha256="c" * 64)
    found.announced(Resolved(release=newer, stored=False))
    assert found.record.candidate == newer


def test_a_refusal_ends_the_attempt_until_the_pointer_changes() -> None:
    found = asking().on(NO)
    assert found.kind is TroubleKind.FAILED
    assert found.actions == [Collect()]
    found.announced(Resolved(release=NEW, stored=True))
    assert found.actions == [StopUpdate()]
    found.announced(Resolved(release=replace(NEW, rollout=3), stored=True))
    assert found.record.phase is Phase.ASKING


def test_a_hook_that_hangs_is_asked_again_but_not_for_ever() -> None:
    found = asking()
    for _ in range(POLICY.attempts - 1):
        assert found.on(HUNG).kind is TroubleKind.NOT_NOW
        found.after(POLICY.backoff_most_s).on(Resolved(release=NEW, stored=False))
        _prove(found)
    assert found.on(HUNG).kind is TroubleKind.FAILED
    assert found.record.current == OLD


def _prove(found: Device) -> None:
    found.on(Fetched(sha256=NEW.sha256), Proved(sha256=NEW.sha256))
    assert found.record.phase is Phase.ASKING


def test_a_hook_that_takes_the_device_down_is_given_up() -> None:
    found = asking()
    for _ in range(POLICY.interruptions - 1):
        found.restarted().on(Online()).after(POLICY.backoff_most_s)
        found.on(Resolved(release=NEW, stored=False))
        _prove(found)
    assert found.restarted().kind is TroubleKind.FAILED
    assert found.on(WorkerReady()).actions == [Load(release=OLD)]


@pytest.mark.parametrize("answer", [Answer.FAILED, Answer.NOT_NOW, Answer.BROKE])
def test_anything_but_a_go_after_the_change_undoes_it(answer: Answer) -> None:
    found = unwell().on(replace(ILL, answer=answer))
    assert found.record.current == OLD
    assert found.kind is TroubleKind.FAILED
    assert found.actions == [Load(release=OLD), Collect()]
    found.on(Loaded(sha256=OLD.sha256))
    (told,) = found.actions
    assert isinstance(told, RunHook)
    assert (told.hook, told.release) == (Hook.POST_ROLLBACK, OLD)
    assert told.instead_of == replace(NEW, since="t100")
    assert told.reason.endswith("returned to the previous version")
    found.on(HookAnswered(hook=told.hook, sha256=OLD.sha256, answer=Answer.FAILED))
    assert found.record.current == OLD, "nothing is asked after a rollback"
    found.announced(Resolved(release=NEW, stored=True))
    assert found.actions == [StopUpdate()], "not again until the pointer changes"


def test_the_first_model_stays_where_nothing_could_serve_instead() -> None:
    found = committing(current=None).on(Loaded(sha256=NEW.sha256), ILL)
    assert found.record.current is not None
    assert found.kind is TroubleKind.FAILED
    assert found.record.unconfirmed is False


def test_what_was_not_confirmed_before_a_power_cut_is_asked_again() -> None:
    found = unwell().restarted().on(WorkerReady(), Loaded(sha256=NEW.sha256))
    new = replace(NEW, since="t100")
    question = RunHook(hook=Hook.POST_ACTIVATE, release=new, instead_of=OLD)
    assert question in found.actions
    assert found.on(WELL).record.unconfirmed is False


def test_a_confirming_hook_that_takes_the_device_down_is_undone() -> None:
    found = unwell()
    for _ in range(POLICY.crashes):
        found.restarted().on(WorkerReady(), Loaded(sha256=NEW.sha256))
    assert found.record.current == OLD


def test_a_restarted_worker_is_asked_about_only_until_it_is_confirmed() -> None:
    found = committed().on(WorkerDied(reason="signal 9"), WorkerReady())
    found.on(Loaded(sha256=NEW.sha256))
    assert found.actions == []


def test_an_answer_that_comes_too_late_changes_nothing_but_the_memory_of_it() -> None:
    found = committed()
    before = found.record
    found.on(LATER, replace(ILL, sha256=OLD.sha256))
    assert replace(found.record, hook=None) == before
    assert found.record.hook is not None


def test_announcements_while_the_device_is_asked_are_kept_for_later() -> None:
    found = asking().on(Announced())
    assert found.actions == []
    assert found.state.again


def test_a_worker_that_is_restarted_meanwhile_does_not_have_it_asked_twice() -> None:
    found = unwell().on(WorkerDied(reason="signal 9"), WorkerReady())
    found.on(Loaded(sha256=NEW.sha256))
    assert found.actions == []
    assert found.on(WELL).record.unconfirmed is False
