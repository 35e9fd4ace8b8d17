"""Any order of events and deaths leaves a model that can be served."""

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgekit_agent.rules import events
from edgekit_agent.rules.hook import Answer, Hook
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.rules.state import ModelState, Moment, Policy, Step
from edgekit_agent.rules.step import step

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = Policy()
DIGESTS = [letter * 64 for letter in "abc"]


class Life(RuleBasedStateMachine):
    """A device whose updater, proof, worker, disk and power do anything in any order.

    It models the doer: what is on the disk, what the worker serves, what has been proven.
    Before a record counts as persisted, the power may fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state = ModelState(record=Record(model="wine", stage="production"))
        self.now_s = 0.0
        self.rollout = 1
        self.on_disk: set[str] = set()
        self.proven: set[str] = set()
        self.worker_up = False
        self.serving: str | None = None
        self.loads: list[str] = []
        self.agreed: set[str] = set()
        self.asked: list[events.RunHook] = []
        self._step(events.Started())

    # --- the doer ---------------------------------------------------------------------

    def _step(self, event: events.Event) -> None:
        at = Moment(s=self.now_s, utc="now")
        result = step(self.state, event, at, POLICY)
        persisted = Record.from_json(result.state.record.to_json(), subject="record")
        assert persisted == result.state.record
        self._carry_out(result)

    def _carry_out(self, result: Step) -> None:  # noqa: C901 - one case for each action
        self.state = result.state
        for action in result.actions:
            match action:
                case events.RunHook():
                    assert action.release.sha256 in self.proven
                    self.asked.append(action)
                case events.Load(release=release):
                    assert release.sha256 in self.proven, "only a proven model may serve"
                    assert release.sha256 in self.agreed, "and one the device agreed to"
                    if self.worker_up:
                        self.loads.append(release.sha256)
                case events.Prove(release=release):
                    assert release.sha256 in self.on_disk
                case events.Discard(sha256=sha256):
                    self.on_disk.discard(sha256)
                case events.Collect():
                    self.on_disk &= self.state.record.needed
                case events.Proceed():
                    assert self.state.record.phase is Phase.FETCHING
                case events.StartUpdate():
                    assert self.state.record.phase is Phase.CHECKING
                case events.StopUpdate():
                    pass

    # --- the world --------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 3.0, 70.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self._step(events.Ticked())

    @rule()
    def broker_comes(self) -> None:
        self._step(events.Online())

    @rule()
    def broker_goes(self) -> None:
        self._step(events.Offline())

    @rule(moved=st.booleans())
    def announced(self, moved: bool) -> None:  # noqa: FBT001 - hypothesis passes names
        self.rollout += moved
        self._step(events.Announced())

    @rule(digest=st.sampled_from(DIGESTS))
    def resolved(self, digest: str) -> None:
        flavor = {"a": "fp32", "b": "int8"}.get(digest[0], "fp16")
        found = Release(version="1", flavor=flavor, sha256=digest, rollout=self.rollout)
        self._step(events.Resolved(release=found, stored=digest in self.on_disk))

    @rule()
    def nothing_released(self) -> None:
        self._step(events.NothingReleased())

    @precondition(lambda self: self.state.record.phase is Phase.FETCHING)
    @rule()
    def fetched(self) -> None:
        digest = _digest(self.state.record.candidate)
        self.on_disk.add(digest)
        self._step(events.Fetched(sha256=digest))

    @rule(
        error=st.sampled_from(["TransportError", "TrustError", "AdmissionError"]),
        final=st.booleans(),
    )
    def update_failed(self, error: str, final: bool) -> None:  # noqa: FBT001 - see above
        self._step(events.UpdateFailed(error=error, reason="so", final=final))

    @precondition(lambda self: self.state.record.phase is Phase.PROVING)
    @rule()
    def proved(self) -> None:
        digest = _digest(self.state.record.candidate)
        self.proven.add(digest)
        self._step(events.Proved(sha256=digest))

    @rule(digest=st.sampled_from(DIGESTS), error=st.sampled_from(["StoreError", "Crashed"]))
    def proof_ends_badly(self, digest: str, error: str) -> None:
        self._step(events.ProofBroke(sha256=digest, error=error, reason="so"))

    @rule(digest=st.sampled_from(DIGESTS))
    def proof_refuses(self, digest: str) -> None:
        self._step(events.ProofRefused(sha256=digest, error="ProofError", reason="so"))

    @precondition(lambda self: self.asked)
    @rule(answer=st.sampled_from(list(Answer)), again_s=st.sampled_from([5, 900, 86_400]))
    def hook_answers(self, answer: Answer, again_s: int) -> None:
        asked = self.asked.pop(0)
        if answer is Answer.GO and asked.hook is Hook.PRE_ACTIVATE:
            self.agreed.add(asked.release.sha256)
        self._step(
            events.HookAnswered(
                hook=asked.hook,
                sha256=asked.release.sha256,
                answer=answer,
                reason="so",
                again_s=again_s,
                output="it said so",
            )
        )

    @rule(
        hook=st.sampled_from([Hook.POST_ACTIVATE, Hook.POST_ROLLBACK]),
        digest=st.sampled_from(DIGESTS),
        answer=st.sampled_from(list(Answer)),
    )
    def hook_answers_unasked(self, hook: Hook, digest: str, answer: Answer) -> None:
        self._step(events.HookAnswered(hook=hook, sha256=digest, answer=answer))

    @precondition(lambda self: not self.worker_up)
    @rule()
    def worker_starts(self) -> None:
        self.worker_up, self.loads = True, []
        self._step(events.WorkerReady())

    @precondition(lambda self: self.worker_up)
    @rule(by=st.sampled_from(["", *DIGESTS]))
    def worker_dies(self, by: str) -> None:
        self.worker_up, self.serving, self.loads = False, None, []
        self._step(events.WorkerDied(reason="signal 11", by=by))

    @precondition(lambda self: self.loads)
    @rule()
    def worker_loads(self) -> None:
        digest = self.loads.pop(0)
        if digest in self.on_disk:
            self.serving = digest
            self._step(events.Loaded(sha256=digest))
        else:
            self._fails_to_load(digest, "StoreError")

    @precondition(lambda self: self.loads)
    @rule(error=st.sampled_from(["StoreError", "ProofError"]))
    def worker_fails_to_load(self, error: str) -> None:
        self._fails_to_load(self.loads.pop(0), error)

    def _fails_to_load(self, digest: str, error: str) -> None:
        self._step(events.LoadFailed(sha256=digest, error=error, reason="so"))

    @rule(
        crash=st.sampled_from(["", "what serves took the agent with it"]),
        by=st.sampled_from(["", *DIGESTS]),
    )
    def power_fails(self, crash: str, by: str) -> None:
        self.worker_up, self.serving, self.loads = False, None, []
        self.asked = []
        self.state = ModelState(record=self.state.record)
        self._step(events.Started(crash=crash, by=by if crash else ""))

    # --- what always holds ------------------------------------------------------------

    @invariant()
    def whatever_is_current_was_proven_here(self) -> None:
        record = self.state.record
        for kept in (record.current, record.previous):
            assert kept is None or kept.sha256 in self.proven

    @invariant()
    def whatever_could_serve_is_kept_or_known_to_be_damaged(self) -> None:
        record = self.state.record
        for kept in (record.current, record.previous):
            assert kept is None or kept.sha256 in record.needed

    @invariant()
    def what_was_refused_is_refused_for_one_pointer_only(self) -> None:
        rollouts = {refusal.rollout for refusal in self.state.record.refused}
        assert len(rollouts) <= 1

    @invariant()
    def a_device_that_waits_knows_for_how_long(self) -> None:
        trouble = self.state.record.trouble
        if trouble is not None and trouble.error == "HookNotNow":
            assert trouble.again_s in (5, 900, 86_400)

    @invariant()
    def at_rest_there_is_no_candidate(self) -> None:
        if self.state.at_rest:
            assert self.state.record.candidate is None
            expected = Phase.SERVING if self.state.record.current else Phase.IDLE
            assert self.state.record.phase is expected

    @invariant()
    def current_and_previous_differ(self) -> None:
        record = self.state.record
        if record.current is not None and record.previous is not None:
            assert record.current.sha256 != record.previous.sha256

    @invariant()
    def a_restart_asks_for_a_proven_model_whenever_there_is_one(self) -> None:
        at = Moment(s=0.0, utc="now")
        fresh = ModelState(record=self.state.record)
        for event in (events.Started(), events.Started(crash="it died of it")):
            started = step(fresh, event, at, POLICY).state
            asked = step(started, events.WorkerReady(), at, POLICY).actions
            wanted = started.wanted
            assert bool(asked) is (wanted is not None)
            assert wanted is None or wanted.sha256 in self.proven

    def teardown(self) -> None:
        """Whatever happened: an honest world ends with the released model serving."""
        if not self.worker_up:
            self.worker_starts()
        self._step(events.Online())
        self.rollout += 1
        goal = Release(version="9", flavor="fp32", sha256="d" * 64, rollout=self.rollout)
        self._step(events.Announced())
        for _ in range(60):
            if self._reached(goal):
                return
            self._honestly(goal)
        raise AssertionError(f"never served what is released: {self.state}")

    def _reached(self, goal: Release) -> bool:
        current = self.state.record.current
        served = self.state.loaded == self.serving == goal.sha256
        calm = self.state.at_rest and self.state.record.trouble is None
        return calm and served and _digest(current) == goal.sha256

    def _honestly(self, goal: Release) -> None:
        honest: dict[Phase, Callable[[], None]] = {
            Phase.CHECKING: lambda: self._step(
                events.Resolved(release=replace(goal), stored=goal.sha256 in self.on_disk)
            ),
            Phase.FETCHING: self.fetched,
            Phase.PROVING: self.proved,
        }
        while self.loads:
            self.worker_loads()
        while self.asked:
            self.hook_answers(Answer.GO, 5)
        honest.get(self.state.record.phase, lambda: self.time_passes(1000.0))()


def _digest(found: Release | None) -> str:
    assert found is not None
    return found.sha256


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
