"""What `edgekit convert` prints of a conversion."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.cli.converted import document, show
from edgekit.conversion import Candidate, Conversion

FP32 = Candidate(
    flavor="fp32",
    accepted=True,
    reason="accuracy 0.9500, then 0.9500: all 2000 labels stay",
    model_bytes=100_000,
    bundle_bytes=90_000,
    peak_rss_bytes=58 * 2**20,
    one_row_p50_us=120,
    one_row_p95_us=150,
    batch_us_per_row=33.3,
    agreement=1.0,
    drop=0.0,
    metric="accuracy",
    metric_original=0.95,
    metric_flavor=0.95,
    low=-0.0019,
    high=0.0019,
    note="lossless passes only",
    boards=("raspberry-pi-4",),
)
INT8 = replace(FP32, flavor="int8", model_bytes=30_000, bundle_bytes=28_000)
UNPROVEN = replace(INT8, enough=False)
WORSE = replace(INT8, accepted=False, reason="less accurate: by far", drop=0.25)
UNDECIDED = replace(INT8, accepted=False, enough=False, reason="not enough samples: so")
ABSENT = replace(
    WORSE, flavor="fp16", model_bytes=0, note="", reason="does not apply: no constant"
)


def conversion(*candidates: Candidate, **choices: str) -> Conversion:
    return Conversion(
        candidates=candidates,
        choices={name.replace("_", "-"): flavor for name, flavor in choices.items()},
        source_bytes=200_000,
        fp32_bytes=110_000,
        samples=2_000,
        report_json=Path("flavors/report.json"),
        report_html=Path("flavors/report.html"),
        notes=("judged by accuracy (auto)",),
    )


def shown(capsys: pytest.CaptureFixture[str], what: Conversion) -> list[str]:
    show(what)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_every_flavor_that_ran_has_a_row_with_its_metric_and_interval(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(capsys, conversion(FP32, INT8, ABSENT, raspberry_pi_4="int8"))
    assert "FLAVOR VERDICT MODEL B WIRE B RSS MB P50 us P95 us" in lines[1]
    assert "METRIC VALUE DROP 95 % INTERVAL" in lines[1]
    assert (
        "int8 kept 30,000 28,000 58.0 120 150 33.3 accuracy 0.9500 0.0000 -0.0019 .. 0.0019"
        in lines
    )
    assert not any(line.startswith("fp16 -") for line in lines)
    assert "fp16 does not apply: no constant" in lines
    assert "raspberry-pi-4 gets int8, 28,000 bytes on the wire" in lines
    assert "note judged by accuracy (auto)" in lines
    assert "report flavors/report.html" in lines


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (78, {"FLAVOR", "VERDICT", "VALUE"}),
        (90, {"FLAVOR", "RSS", "VALUE"}),
        (110, {"FLAVOR", "RSS", "METRIC"}),
        (150, {"RSS", "METRIC", "P95", "BATCH"}),
    ],
)
def test_a_terminal_shows_the_columns_that_it_is_wide_enough_for(
    width: int,
    headings: set[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show(conversion(FP32, replace(INT8, metric="rmse")))
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    heading = next(line for line in lines if "FLAVOR" in line)
    assert headings <= set(heading.split())
    row = next(line for line in lines if line.startswith(" int8"))
    assert ("rmse (of std)" in row) == ("METRIC" in headings)
    assert "…" not in row or width == 60


def test_a_drop_of_next_to_nothing_has_no_sign(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(capsys, conversion(replace(FP32, drop=-1e-9, low=-2e-9, high=1e-9)))
    assert any(line.endswith(" 0.0000 0.0000 .. 0.0000") for line in lines)


def test_one_reason_of_several_flavors_is_said_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(capsys, conversion(FP32, INT8, raspberry_pi_4="int8"))
    assert lines.count(f"fp32, int8 {FP32.reason}") == 1


@pytest.mark.parametrize(
    ("candidate", "verdict"),
    [
        (INT8, "kept"),
        (replace(UNPROVEN, lossless=True), "lossless"),
        (UNPROVEN, "unproven"),
        (WORSE, "refused"),
        (UNDECIDED, "too few"),
    ],
)
def test_the_verdicts_are_told_apart(
    candidate: Candidate, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, conversion(FP32, candidate))
    assert any(line.startswith(f"int8 {verdict} 30,000") for line in lines)


def test_a_choice_that_is_not_proven_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, conversion(FP32, UNPROVEN, raspberry_pi_4="int8"))
    assert "raspberry-pi-4 gets int8 (not proven), 28,000 bytes on the wire" in lines


def test_why_a_board_gets_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"raspberry-pi-4": "fp32 stays: nothing smaller is as good"}
    told = replace(conversion(FP32, WORSE, raspberry_pi_4="fp32"), reasons=said)
    lines = shown(capsys, told)
    assert (
        "raspberry-pi-4 gets fp32, 90,000 bytes on the wire; fp32 stays: nothing smaller is"
        " as good" in lines
    )
    assert document(told)["reasons"] == said


def test_without_a_board_the_smallest_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, conversion(FP32, INT8))
    assert any(
        line.startswith("smallest int8, 28,000 bytes on the wire;") for line in lines
    )
    lines = shown(capsys, conversion(FP32, UNPROVEN))
    assert any(line.startswith("smallest fp32, 90,000 bytes") for line in lines)


def test_json_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(json.dumps(document(conversion(FP32, UNPROVEN))))
    int8 = told["candidates"][1]
    assert (int8["metric"], int8["low"], int8["high"]) == ("accuracy", -0.0019, 0.0019)
    assert int8["enough"] is False
    assert told["notes"] == ["judged by accuracy (auto)"]
    assert capsys.readouterr().out == ""
