import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import TrustError
from edgekit.statement import (
    MAX_CHUNKS,
    BundleEntry,
    ReleaseRecord,
    StagePointer,
    pointer_path,
    record_path,
    slug,
    stage_role,
)
from tests.core.examples import JSON, places, pointer, record, replaced

Statement = ReleaseRecord | StagePointer

DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
COUNTS = st.integers(0, 2**53)
ENTRIES = st.builds(
    BundleEntry,
    flavor=st.text(),
    sha256=DIGESTS,
    length=st.integers(1, 2**53),
    chunk_bytes=st.integers(1, 120 * 1024),
    index_sha256=DIGESTS,
    unpacked_bytes=COUNTS,
    peak_rss_bytes=COUNTS,
    min_onnxruntime=st.text(),
    one_row_p95_us=COUNTS,
    boards=st.lists(st.text()).map(tuple),
    isas=st.lists(st.text()).map(tuple),
).map(lambda e: replace(e, length=1 + e.length % (MAX_CHUNKS * e.chunk_bytes)))
RECORDS = st.builds(
    ReleaseRecord,
    model=st.text(),
    version=st.text(),
    run_id=st.text(),
    source_sha256=DIGESTS,
    bundles=st.lists(ENTRIES, max_size=4).map(tuple),
    extra=st.dictionaries(st.text().map("x-{}".format), JSON),
)
POINTERS = st.builds(
    StagePointer,
    model=st.text(),
    stage=st.text(),
    version=st.text(),
    rollout=st.integers(1, 2**53),
    bundles=st.dictionaries(st.text(), DIGESTS),
    extra=st.dictionaries(st.text().map("x-{}".format), JSON),
)
READERS: list[tuple[Callable[[bytes], Statement], Statement]] = [
    (ReleaseRecord.from_json, record()),
    (StagePointer.from_json, pointer()),
]


@given(RECORDS)
def test_any_release_record_survives_writing_and_reading(written: ReleaseRecord) -> None:
    assert ReleaseRecord.from_json(written.to_json()) == written


@given(POINTERS)
def test_any_stage_pointer_survives_writing_and_reading(written: StagePointer) -> None:
    assert StagePointer.from_json(written.to_json()) == written


@pytest.mark.parametrize(("read", "example"), READERS)
def test_a_format_of_the_future_is_refused_and_says_to_update(
    read: Callable[[bytes], Statement], example: Statement
) -> None:
    with pytest.raises(TrustError, match="reads up to 1; update the agent first"):
        read(dataclasses.replace(example, format=2).to_json())


@pytest.mark.parametrize(("read", "example"), READERS)
@given(data=st.data(), value=JSON)
def test_a_statement_changed_anywhere_is_read_or_refused_and_never_crashes(
    read: Callable[[bytes], Statement],
    example: Statement,
    data: st.DataObject,
    value: object,
) -> None:
    document = json.loads(example.to_json())
    path = data.draw(st.sampled_from(sorted(places(document), key=str)))
    try:
        changed = read(json.dumps(replaced(document, path, value)).encode())
    except TrustError:
        return
    assert read(changed.to_json()) == changed


@pytest.mark.parametrize("rollout", [0, -1, 1.5, True, None, "7"])
def test_a_rollout_that_is_no_count_is_refused(rollout: object) -> None:
    document = {**json.loads(pointer().to_json()), "rollout": rollout}
    with pytest.raises(TrustError, match="stage pointer: rollout: a whole number"):
        StagePointer.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("digest", ["", "cd" * 31, "CD" * 32, "zz" * 32, 7])
def test_a_pointer_at_what_is_no_digest_is_refused(digest: object) -> None:
    document = {**json.loads(pointer().to_json()), "bundles": {"fp32": digest}}
    with pytest.raises(TrustError, match="stage pointer: bundles: fp32: "):
        StagePointer.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("chunk_bytes", [0, 120 * 1024 + 1])
def test_a_chunk_size_that_brokers_refuse_is_refused(chunk_bytes: int) -> None:
    document = replaced(
        json.loads(record().to_json()), ("bundles", 0, "chunk_bytes"), chunk_bytes
    )
    with pytest.raises(TrustError, match=r"bundles\[0\]: chunk_bytes: "):
        ReleaseRecord.from_json(json.dumps(document).encode())


@given(st.integers(1, 10_000_000), st.integers(1, 120 * 1024))
def test_the_chunks_of_a_bundle_add_up_to_its_length(length: int, size: int) -> None:
    entry = dataclasses.replace(record().bundles[0], length=length, chunk_bytes=size)
    last = entry.chunks - 1
    assert 0 < entry.chunk_length(last) <= size
    assert last * size + entry.chunk_length(last) == length
    assert all(entry.chunk_length(n) == size for n in range(min(last, 50)))


@given(st.text())
def test_a_slug_is_one_harmless_path_segment_and_topic_level(name: str) -> None:
    assert not set(slug(name)) & set("/\\+#*?. \0\n")


@given(st.text(), st.text())
def test_different_names_have_different_slugs(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


def test_target_paths_and_roles_are_those_of_the_format() -> None:
    assert record_path("wine", "3") == "models/wine/3.json"
    assert record_path("Vin d'été/2", "3") == "models/Vin%20d%27%C3%A9t%C3%A9%2F2/3.json"
    assert pointer_path("production", "wine") == "stages/production/wine.json"
    assert stage_role("production") == "stage-production"


def test_no_name_can_climb_out_of_its_role() -> None:
    assert record_path("..", "../stages/production/wine").count("/") == 2
    assert ".." not in record_path("..", "..")
