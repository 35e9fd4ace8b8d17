import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from edgekit import board
from edgekit.conversion import Candidate
from edgekit.golden import Golden
from edgekit.latency import BoardLatency
from edgekit.manifest import ModelIdentity, RuntimeNeeds, Tolerance
from edgekit_converters.flavors import Finding
from edgekit_converters.outcome.page import page, size
from edgekit_converters.outcome.report import Detail, Report, frontier
from edgekit_converters.verdict.measure import Cost

KEPT = Candidate(
    flavor="int8",
    accepted=True,
    reason="1 of 500 labels change (0.20%)",
    model_bytes=30_000,
    bundle_bytes=28_000,
    peak_rss_bytes=58 * 2**20,
    one_row_p50_us=120,
    one_row_p95_us=150,
    batch_us_per_row=33.3,
    agreement=0.998,
    drop=0.002,
    metric="accuracy",
    metric_original=0.958,
    metric_flavor=0.956,
    low=-0.001,
    high=0.004,
    note="7 weights as int8",
    boards=("raspberry-pi-4",),
    latencies=(
        BoardLatency(
            board="raspberry-pi-4", one_row_p50_us=340, calibrated=False, how="scaled"
        ),
    ),
    folder=Path("/somewhere/secret/int8"),
)
FP32 = replace(
    KEPT, flavor="fp32", model_bytes=100_000, drop=0.0, agreement=1.0, one_row_p50_us=110
)
REFUSED = replace(
    KEPT,
    flavor="int8-static",
    accepted=False,
    drop=0.8,
    reason="less accurate: 80.00%",
    folder=None,
)
ABSENT = replace(
    REFUSED, flavor="fp16", model_bytes=0, reason="does not apply: no float constant"
)
DETAIL = Detail(
    semantics="exact integer arithmetic",
    findings=(Finding(subject="dense_1/kernel", fact="alone it costs this", value=0.01),),
    needs=RuntimeNeeds(opsets={"": 17}, ir_version=8, min_onnxruntime="1.16"),
    cost=Cost(
        model_bytes=30_000,
        peak_rss_bytes=58 * 2**20,
        load_us=4_200,
        one_row_p50_us=120,
        one_row_p95_us=150,
        batch_us_per_row=33.3,
        first_load_rss_bytes=57 * 2**20,
        runtime_floor_bytes=48 * 2**20,
        memory_estimate_bytes=55 * 2**20,
    ),
    tolerance=Tolerance(rtol=1e-3, atol=1e-5),
    tolerance_reason="float kernels differ in the last bits",
    golden=Golden(
        inputs={"hue": np.array([1.05, 0.98])},
        outputs={"probabilities": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)},
    ),
)
REPORT = Report(
    identity=ModelIdentity(
        name="wine", version="3", run_id="f00d", source_sha256="ab" * 32
    ),
    framework="sklearn",
    task="classification",
    samples=500,
    true_labels=True,
    max_drop=0.005,
    source_bytes=400_000,
    fp32_bytes=110_000,
    boards=(board.load("raspberry-pi-4"),),
    candidates=(FP32, ABSENT, KEPT, REFUSED),
    choices={"raspberry-pi-4": "int8"},
    reasons={"raspberry-pi-4": "int4 would not fit the board"},
    notes=("165 rows to search on, 335 others to judge on",),
    details={"int8": DETAIL},
    tools={"onnx": "1.17.0"},
    measured_on="x86_64",
)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "line", "circle", "polyline"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"line", "circle", "polyline"}:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing_from_anywhere() -> None:
    html = page(REPORT)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    for tag, attributes in tags.seen:
        assert tag not in {"script", "link", "img", "iframe", "object", "base"}
        assert not {"src", "href", "onload"} & attributes.keys()
    assert "url(" not in html
    assert "@import" not in html
    assert "http" not in html


def test_every_candidate_its_verdict_and_its_reason_are_on_the_page() -> None:
    html = page(REPORT)
    for one in REPORT.candidates:
        assert one.flavor in html
        assert one.reason in html
    assert html.count(">kept<") == 2
    assert html.count(">refused<") == 1
    assert "What does not apply" in html


def test_a_drop_is_shown_with_its_interval() -> None:
    html = page(REPORT)
    assert "<td>0.9560</td>" in html
    assert "+0.0020<br><small>-0.0010 to +0.0040</small>" in html


def test_what_the_samples_could_not_decide_is_told_apart() -> None:
    kept = replace(KEPT, flavor="a", enough=False)
    fallen = replace(REFUSED, flavor="b", enough=False)
    html = page(replace(REPORT, candidates=(FP32, KEPT, kept, fallen)))
    assert html.count(">kept, not proven<") == 1
    lossless = replace(KEPT, flavor="c", enough=False, lossless=True)
    assert ">lossless<" in page(replace(REPORT, candidates=(lossless, KEPT)))
    assert html.count(">not enough samples<") == 1


def test_each_flavors_findings_memory_and_golden_rows_are_on_the_page() -> None:
    html = page(REPORT)
    assert "<td>dense_1/kernel</td><td>0.01</td><td>alone it costs this</td>" in html
    assert "57.0 MB while loading, 48.0 MB of it the runtime alone" in html
    assert "Proven on each device by 2 golden rows" in html
    assert "hue=1.05 \N{RIGHTWARDS ARROW} probabilities=[0.25 0.75]" in html
    assert "onnxruntime 1.16 or newer; ai.onnx 17" in html
    assert "exact integer arithmetic" in html


def test_long_findings_are_cut_on_the_page_and_whole_in_the_json() -> None:
    many = tuple(Finding(subject=f"layer {n}", fact="") for n in range(100))
    report = replace(REPORT, details={"int8": replace(DETAIL, findings=many)})
    assert "and 60 more in report.json" in page(report)
    int8 = json.loads(report.to_json())["candidates"][2]
    assert len(int8["findings"]) == 100


def test_the_frontier_holds_what_no_other_kept_flavor_beats_in_everything() -> None:
    slower = replace(KEPT, flavor="slower", one_row_p50_us=500)
    assert [one.flavor for one in frontier((FP32, KEPT, slower, REFUSED))] == [
        "int8",
        "fp32",
    ]
    assert frontier((KEPT, replace(KEPT, flavor="twin")))[1].flavor == "twin"


def test_the_choice_of_each_board_is_on_the_page_with_what_it_takes() -> None:
    html = page(REPORT)
    assert "Raspberry Pi 4 Model B, 2 GB</h3><strong>int8</strong>" in html
    assert "58 of 512 MB memory" in html
    assert "<p>int4 would not fit the board</p>" in html
    assert "about 340 \N{MICRO SIGN}s a row, estimated" in html


def test_the_lead_names_the_smallest_kept_flavor_and_how_much_smaller_it_is() -> None:
    lead = page(REPORT).split('class="lead">')[1].split("</p>")[0]
    assert "<strong>int8</strong>" in lead
    assert "3.7 times smaller than the exported ONNX (110.0 kB" in lead


def test_without_boards_the_page_says_so() -> None:
    assert "No board was named" in page(replace(REPORT, boards=(), choices={}))


def test_a_hostile_model_name_stays_text() -> None:
    evil = replace(REPORT.identity, name="<script>alert(1)</script>$title")
    finding = Finding(subject="<script>", fact="<script>")
    details = {"int8": replace(DETAIL, findings=(finding,))}
    html = page(replace(REPORT, identity=evil, details=details, notes=("<script>",)))
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;$title" in html


def test_the_json_holds_every_figure_and_no_path() -> None:
    data = REPORT.to_json()
    document = json.loads(data)
    assert [one["flavor"] for one in document["candidates"]] == [
        "fp32",
        "fp16",
        "int8",
        "int8-static",
    ]
    assert document["candidates"][2]["model_bytes"] == 30_000
    assert "model_bytes" not in document["candidates"][1]  # nothing was measured
    assert document["choices"] == {"raspberry-pi-4": "int8"}
    assert document["reasons"] == {"raspberry-pi-4": "int4 would not fit the board"}
    assert b"secret" not in data


def test_neither_form_holds_a_time_of_day() -> None:
    assert not re.search(r"\b20[2-9]\d-\d\d", page(REPORT) + REPORT.to_json().decode())


def test_sizes_are_written_for_people() -> None:
    assert [size(n) for n in (999, 12_345, 3_210_000)] == ["999 B", "12.3 kB", "3.21 MB"]
