"""A release holds one flavor more than boards get: for who cannot hold its board's."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.conversion import Candidate, Conversion
from edgekit.release import cache
from tests.core.workshop import candidate

PI = "raspberry-pi-4"


def tried(folder: Path, flavor: str, peak_rss_bytes: int, **changes: object) -> Candidate:
    one = replace(candidate(flavor, folder / flavor), boards=(PI,))
    return replace(one, peak_rss_bytes=peak_rss_bytes, **changes)  # type: ignore[arg-type]  # Candidate's own fields


def kept(folder: Path, *candidates: Candidate) -> list[tuple[str, tuple[str, ...]]]:
    conversion = Conversion(
        candidates=candidates,
        choices={PI: "int8"},
        source_bytes=1,
        fp32_bytes=1,
        samples=1,
        report_json=folder,
        report_html=folder,
    )
    told = cache.keep(folder, conversion)
    assert cache.find(folder) == told
    return [(one.flavor, one.boards) for one in told]


def test_the_spare_is_what_takes_the_least_memory_of_the_rest(folder: Path) -> None:
    found = kept(
        folder,
        tried(folder, "fp32", 90),
        tried(folder, "int8", 80),
        tried(folder, "fp16", 70),
    )
    assert found == [("int8", (PI,)), ("fp16", ())]


@pytest.mark.parametrize(
    "worse",
    [
        {"accepted": False},
        {"enough": False},
        {"boards": ()},
    ],
    ids=["refused", "not proven", "fits no board"],
)
def test_what_is_worse_is_no_spare(folder: Path, worse: dict[str, object]) -> None:
    one = tried(folder, "fp16", 10, **worse)
    assert kept(folder, tried(folder, "int8", 80), one) == [("int8", (PI,))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A conversion's folder."""
    return tmp_path
