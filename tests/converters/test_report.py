import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from edgekit import board
from edgekit.conversion import Candidate
from edgekit.manifest import ModelIdentity
from edgekit_converters.outcome.report import Report, page, size

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
    boards=("raspberry-pi-4",),
    folder=Path("/somewhere/secret/int8"),
)
FP32 = replace(KEPT, flavor="fp32", model_bytes=100_000, drop=0.0, agreement=1.0)
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
    notes={"int8": "7 weights"},
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


def test_the_choice_of_each_board_is_on_the_page_with_what_it_takes() -> None:
    html = page(REPORT)
    assert "Raspberry Pi 4 Model B, 2 GB</h3><strong>int8</strong>" in html
    assert "58 of 512 MB memory" in html


def test_the_lead_names_the_smallest_kept_flavor_and_how_much_smaller_it_is() -> None:
    lead = page(REPORT).split('class="lead">')[1].split("</p>")[0]
    assert "<strong>int8</strong>" in lead
    assert "3.7 times smaller than the exported ONNX (110.0 kB" in lead


def test_without_boards_the_page_says_so() -> None:
    assert "No board was named" in page(replace(REPORT, boards=(), choices={}))


def test_a_hostile_model_name_stays_text() -> None:
    evil = replace(REPORT.identity, name="<script>alert(1)</script>$title")
    html = page(replace(REPORT, identity=evil))
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
    assert b"secret" not in data


def test_neither_form_holds_a_time_of_day() -> None:
    assert not re.search(r"\b20[2-9]\d-\d\d", page(REPORT) + REPORT.to_json().decode())


def test_sizes_are_written_for_people() -> None:
    assert [size(n) for n in (999, 12_345, 3_210_000)] == ["999 B", "12.3 kB", "3.21 MB"]
