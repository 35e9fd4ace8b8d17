import json

from edgekit.fleet.report import Presence, Report
from edgekit_agent.config import Config, parse
from edgekit_agent.rules.record import Phase, Record, Release, Trouble, TroubleKind
from edgekit_agent.rules.state import ModelState
from edgekit_agent.supervision import report

AT = "2026-01-01T00:00:00Z"


def configuration() -> Config:
    return parse(
        """
        format = 1
        fleet = "demo"
        device = "pi-7"
        board = "raspberry-pi-4"
        root = '{"signed": {"_type": "root", "x-edgekit-fleet": "demo"}}'
        [broker]
        url = "mqtt://localhost:1883"
        [limits]
        model_ram_mb = 512
        model_flash_mb = 100
        [[models]]
        name = "wine"
        stage = "production"
        """,
        subject="agent.toml",
    )


def release(letter: str) -> Release:
    return Release(version="2", flavor="int8", sha256=letter * 64, rollout=3, since=AT)


def full(number: int, *, loaded: str | None = None) -> ModelState:
    setback = Trouble(
        kind=TroubleKind.FAILED, error="ProofError", reason="x" * 9_000, at=AT
    )
    record = Record(
        model=f"model number {number}",
        stage="production",
        phase=Phase.SERVING,
        current=release("a"),
        previous=release("b"),
        candidate=release("c"),
        trouble=setback,
    )
    return ModelState(record=record, loaded=loaded)


def told(*states: ModelState) -> bytes:
    return report.reported_state(
        configuration(), states, boot_id="b-1", seq=7, at=AT, onnxruntime="1.31.1"
    )


def test_a_report_says_what_serves_and_what_really_answers() -> None:
    models = json.loads(told(full(1), full(2, loaded="a" * 64)))["models"]
    assert [m["loaded"] for m in models] == [False, True]
    assert models[0]["rollout"] == 3
    assert models[0]["current"]["version"] == "2"


def test_the_longest_report_fits_into_a_message() -> None:
    assert len(told(*(full(n) for n in range(64)))) < 64 * 1024


def test_the_fleet_reads_what_the_device_tells() -> None:
    read = Report.from_json(told(full(1), ModelState(record=Record(model="m", stage="s"))))
    first, second = read.models
    assert (read.device, read.seq, first.rollout) == ("pi-7", 7, 3)
    assert first.current is not None
    assert (first.current.version, first.current.since) == ("2", AT)
    assert first.trouble is not None
    assert (first.trouble.kind, second.current) == ("failed", None)


def test_presence_is_one_word_and_where_it_came_from() -> None:
    assert Presence.from_json(report.online(boot_id="b-1", at=AT)).online
    assert not Presence.from_json(report.offline()).online
