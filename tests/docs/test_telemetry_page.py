"""docs/formats/telemetry.md shows what travels, and says the code's own limits."""

import re
from pathlib import Path

from edgekit.fleet.claim import Said
from edgekit.fleet.unread import MOST_UNREAD
from edgekit.telemetry import taken, window
from edgekit.telemetry.counts import MAX_NAME_CHARS
from edgekit.telemetry.profile import MAX_COLUMNS
from edgekit.telemetry.refusals import MAX_NUMBER, Reason
from edgekit.telemetry.taken import Taken
from edgekit.telemetry.window import Window
from edgekit_agent.rules.backlog import BLOCK_BYTES, MOST_IN_FLIGHT
from edgekit_agent.supervision import home_assistant
from edgekit_agent.supervision.home_assistant import Today
from edgekit_agent.supervision.telemetry import CHECKPOINT_S
from tests.agent.test_home_assistant import CONFIG, serving

PAGE = (Path(__file__).parents[2] / "docs/formats/telemetry.md").read_text("utf-8")


def shown(begins: str) -> str:
    """The indented block of the page that begins so, on one line."""
    block = next(
        found
        for found in re.findall(r"((?:^    .*\n)+)", PAGE, re.MULTILINE)
        if found.strip().startswith(begins)
    )
    return "".join(line.strip() for line in block.splitlines())


def test_the_window_on_the_page_is_read_and_written_again() -> None:
    text = shown("[2,")
    read = Window.decode(text.encode())
    assert (read.first, read.last, read.health.cpu_c) == (40, 41, 51.5)
    assert read.refusals == {Reason.HTTP_MODEL: 2, Reason.ASK_BUSY: 17}
    (bundle,) = read.bundles
    assert (bundle.requests, bundle.schema_violations) == (5, 1)
    assert sum(bundle.durations.values()) == bundle.requests - bundle.schema_violations
    assert all(sum(one) == bundle.rows for one in (*bundle.inputs, *bundle.outputs))
    assert Window.decode(read.encode()) == read


def test_the_acknowledgement_on_the_page_is_the_codes() -> None:
    text = shown('{"boot_id"')
    assert Taken.decode(text.encode()).encode().decode() == text


def test_the_refusal_and_the_claim_on_the_page_are_the_codes() -> None:
    text = shown('{"boot_id":""')
    assert Taken.decode(text.encode()).encode().decode() == text
    text = shown('{"against"')
    assert Said.decode(text.encode()).encode().decode() == text


def test_every_reason_of_a_refusal_is_told_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| `([a-z]+-[a-z]+)` \|", PAGE, re.MULTILINE)
    assert [(int(number), label) for number, label in rows] == [
        (reason.value, reason.label) for reason in Reason
    ]


def test_the_figures_on_the_page_have_the_agents_keys() -> None:
    told = home_assistant.figures(CONFIG, Today(), serving(), lambda _: None)
    keys = re.compile(rb'"(\w+)":')
    assert set(keys.findall(shown('{"date"').encode())) == set(keys.findall(told))


def test_the_limits_on_the_page_are_the_codes() -> None:
    for told in (
        f"at most\n{window.MAX_BYTES // 1024} KiB",
        f"at most {window.MAX_BUNDLES} |",
        f"up to {MAX_NAME_CHARS} characters",
        f"more than {MAX_COLUMNS} columns",
        f"up to {taken.MAX_WINDOWS} windows of one life and {taken.MAX_BYTES // 1024} KiB",
        f"Up to {taken.MAX_DIGESTS} in a message",
        f"up to {taken.MAX_REASON_CHARS} characters: `refused`",
        f"up to {MOST_UNREAD:,} of a device",
        f"blocks of {BLOCK_BYTES // 1024} KiB",
        f"At most {MOST_IN_FLIGHT} are under way",
        f"every {CHECKPOINT_S} seconds",
        f"up to {MAX_NUMBER}, is added up",
    ):
        assert told in PAGE, told
