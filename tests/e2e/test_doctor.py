"""`edgekit-agent doctor` finds what keeps a real device from updating, and says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.making import made
from tests.e2e.household import Household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

SECOND = made(version="2", scale=3.0)


def doctor(house: Household, **environment: str) -> tuple[int, dict[str, str], str]:
    """The exit code, the worst fact and advice by subject, and all of the text."""
    program = Path(sys.executable).parent / "edgekit-agent"
    done = subprocess.run(
        [program, "doctor", "--config", house.folder / "agent.toml", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    findings = json.loads(done.stdout)["findings"]
    wrong = {
        one["subject"]: f"{one['fact']} -> {one['advice']}"
        for one in findings
        if one["level"] == "trouble"
    }
    return done.returncode, wrong, done.stdout


def test_a_healthy_device_has_no_trouble(serving: Household) -> None:
    code, wrong, text = doctor(serving)
    assert (code, wrong) == (0, {})
    for fact in ("lets this device in", "signed and not expired", "and it runs here"):
        assert fact in text


def test_the_text_is_for_people(serving: Household) -> None:
    program = Path(sys.executable).parent / "edgekit-agent"
    done = subprocess.run(
        [program, "doctor", "--config", serving.folder / "agent.toml"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert "ok       broker: mqtt://" in done.stdout


def test_a_broker_that_is_down_is_named(serving: Household) -> None:
    serving.broker.kill()
    code, wrong, _ = doctor(serving)
    assert code == 1
    assert list(wrong) == ["broker"]
    assert "Connection refused" in wrong["broker"]


def test_an_agent_that_does_not_run_is_named(serving: Household) -> None:
    serving.stop("agent")
    _, wrong, _ = doctor(serving)
    assert list(wrong) == ["agent"]
    assert "systemctl start edgekit-agent" in wrong["agent"]


def test_a_version_that_was_refused_here_is_named_with_the_reason(
    serving: Household,
) -> None:
    serving.release(made(version="2", scale=3.0, golden_scale=4.0), 2)
    serving.until(lambda: serving.trouble().get("kind") == "rejected", "it is refused")
    _, wrong, _ = doctor(serving)
    assert "offers version 2; it was given up here" in wrong["model wine"]
    assert serving.answer() == [6.0]


def test_damaged_files_of_the_model_are_named(serving: Household) -> None:
    current = serving.persisted()["current"]
    assert isinstance(current, dict)
    (serving.folder / "state" / "bundles" / current["sha256"] / "model.onnx").unlink()
    _, wrong, _ = doctor(serving)
    assert "damaged or gone" in wrong["model wine"]


def test_metadata_that_somebody_altered_is_named(serving: Household) -> None:
    altered = serving.repository / "files" / "timestamp.json"
    altered.write_bytes(altered.read_bytes().replace(b'"version":', b'"version" :', 1))
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "what is lawful arrives all the same")
    data = json.loads(altered.read_bytes())
    data["signed"]["version"] += 1
    altered.write_text(json.dumps(data))
    serving.until(lambda: "signatures" in doctor(serving)[1], "the doctor notices")
    assert serving.answer() == [9.0]


def test_a_doctor_changes_nothing_on_the_disk(serving: Household) -> None:
    serving.stop("agent")
    state = serving.folder / "state"
    before = {p: p.stat().st_mtime_ns for p in state.rglob("*") if p.is_file()}
    doctor(serving)
    assert {p: p.stat().st_mtime_ns for p in state.rglob("*") if p.is_file()} == before
