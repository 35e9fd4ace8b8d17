"""docs/formats/wire.md, held to the code it describes."""

import json
import re
import struct
from pathlib import Path

import pytest

from edgekit.figures import Figures, ShadowFigures
from edgekit.fleet.report import Report
from edgekit.receipt import Receipt
from edgekit.statement import CHUNK_BYTES, MAX_CHUNK_BYTES
from edgekit.trust.receipt import generate, key_id, sign
from edgekit.wire import (
    CHUNK_HEADER_BYTES,
    MAX_BUNDLE_BYTES,
    MAX_CHUNKS,
    MAX_MIXED,
    MAX_PAYLOAD_BYTES,
    Chunk,
    Repair,
    Topics,
    Want,
)
from edgekit_agent.rules.hook import Answer, Hook, HookRun
from edgekit_agent.rules.record import Record, Refusal, Release, Trouble, TroubleKind
from edgekit_agent.supervision import report

PAGE = (Path(__file__).parents[2] / "docs" / "formats" / "wire.md").read_text("utf-8")
SHA = "0123456789abcdef" * 4


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def messages() -> dict[str, dict[str, object]]:
    """The JSON messages that the page shows, by the first word of the line before."""
    page = section("What a device says of itself")
    shown = re.findall(r"^(\w+).*:\n\n((?:    .*\n)+)", page, re.MULTILINE)
    return {name: json.loads(_as_json(text)) for name, text in shown}


def _as_json(text: str) -> str:
    """Fill in what the page abbreviates."""
    for shown, meant in (
        (r" or null", ""),
        (r": as current", ":null"),
        (r"rejected\|failed\|not-now", "failed"),
        (r'"sha256":"\.\.\."', f'"sha256":"{SHA}"'),
    ):
        text = re.sub(shown, meant, text)
    return text


def keys(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set()


def layout(heading: str) -> dict[int, str]:
    """Return the rows of a payload's table: offset -> bytes."""
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", section(heading), re.MULTILINE)
    return {int(offset): width.strip() for offset, width in rows}


def test_a_chunk_lies_as_the_page_says() -> None:
    payload = Chunk(epoch=0x01020304, sequence=5, number=6, data=b"data").encode()
    assert list(layout("Chunk")) == [0, 1, 5, 9, CHUNK_HEADER_BYTES]
    assert payload[0] == 1
    assert payload[1:5] == b"\x01\x02\x03\x04"
    assert struct.unpack(">II", payload[5:13]) == (5, 6)
    assert payload[13:] == b"data"
    assert layout("Chunk")[13] == f"1 to {MAX_CHUNK_BYTES:,}"


def test_a_repair_lies_as_the_page_says() -> None:
    payload = Repair(epoch=0x01020304, sequence=5, numbers=(6, 7), data=b"data").encode()
    assert list(layout("Repair")) == [0, 1, 5, 9, 10]
    assert payload[:5] == b"\x01\x01\x02\x03\x04"
    assert struct.unpack(">IBHH", payload[5:14]) == (5, 2, 6, 7)
    assert payload[14:] == b"data"
    assert f"2 to {MAX_MIXED}" in section("Repair")


def test_a_want_lies_as_the_page_says() -> None:
    payload = Want(
        sha256=SHA,
        epoch=2,
        last_sequence=3,
        window=4,
        chunks=10,
        missing=frozenset({0, 9}),
    ).encode()
    assert list(layout("Want")) == [0, 1, 33, 37, 41, 43, 47]
    assert payload[1:33].hex() == SHA
    assert struct.unpack(">IIHI", payload[33:47]) == (2, 3, 4, 10)
    assert payload[47:] == bytes([0b00000001, 0b00000010])


@pytest.mark.parametrize(
    "figure",
    [
        f"{MAX_PAYLOAD_BYTES:,} bytes",
        f"{CHUNK_BYTES:,} bytes",
        f"{MAX_CHUNKS:,} chunks",
        f"{MAX_CHUNKS * CHUNK_BYTES // 10**6} MB",
        f"beyond {MAX_BUNDLE_BYTES // 10**6} MB",
    ],
)
def test_the_limits_are_the_codes(figure: str) -> None:
    assert figure in PAGE


def test_the_topics_are_the_codes() -> None:
    topics = Topics(fleet="<fleet>")
    told = set(re.findall(r"^\| `(edgekit/1/[^`]+)`", section("Topics"), re.MULTILINE))
    made = {
        topics.index,
        topics.book,
        topics.file("<name>"),
        topics.blob("<sha256>"),
        topics.repair("<sha256>"),
        topics.delta("<sha256>"),
        topics.depot("<depot>"),
        topics.want("<device>"),
        topics.state("<device>"),
        topics.presence("<device>"),
        topics.telemetry("<device>"),
        topics.figures("<device>"),
        topics.taken("<device>"),
        topics.receipt("<device>"),
        topics.ask("<device>", "<name>", "<id>"),
        topics.answer("<device>", "<id>"),
    }
    assert told == {t.replace("%3C", "<").replace("%3E", ">") for t in made}
    assert max(topic.count("/") for topic in made) == 7  # AWS IoT Core's limit


def test_the_reported_state_on_the_page_is_what_an_agent_says_and_the_fleet_reads() -> None:
    shown = messages()["Reported"]
    record = Record(
        model="wine",
        stage="production",
        current=Release(version="2", flavor="int8", sha256=SHA, rollout=3),
        trouble=Trouble(kind=TroubleKind.FAILED, error="E", reason="r", at="a"),
        hook=HookRun(
            hook=Hook.PRE_ACTIVATE, answer=Answer.GO, output="", took_ms=0, at="a"
        ),
        refused=(Refusal(rollout=3, flavor="int8", sha256=SHA, reason="r"),),
        proof=Figures(
            sha256=SHA,
            rows=3,
            difference=0.0,
            load_us=900,
            one_row_p50_us=20,
            one_row_p95_us=30,
            peak_rss_bytes=1,
            shadow=ShadowFigures(rows=2, agreed=1, failed=0, difference=None, labels=True),
        ),
    )
    assert keys(shown["models"]) == keys(report.model_table(record)) | {"loaded"}
    assert Report.from_json(json.dumps(shown).encode()).models[0].rollout == 3


def test_the_receipt_on_the_page_is_what_an_agent_signs_and_the_fleet_reads() -> None:
    shown = messages()["Receipt"]
    signed = shown["signed"]
    assert isinstance(signed, dict)
    receipt = Receipt.from_json(json.dumps(signed).encode())
    assert receipt.to_table() == signed
    pem, public = generate()
    envelope = json.loads(sign(receipt, pem))
    assert keys(envelope) == keys(shown)
    assert envelope["signatures"][0]["keyid"] == key_id(public)
