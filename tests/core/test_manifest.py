import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import TrustError
from edgekit.manifest import MAX_COLUMNS, Manifest, Member, RuntimeNeeds, Tolerance
from tests.core.examples import JSON, manifest, places, replaced

KNOWN = {field.name for field in dataclasses.fields(Manifest)} - {"extra"}
DOCUMENT = json.loads(manifest().to_json())


def parse(document: object) -> Manifest:
    return Manifest.from_json(json.dumps(document).encode())


def test_what_is_written_is_what_is_read() -> None:
    assert Manifest.from_json(manifest().to_json()) == manifest()


@given(
    flavor=st.text(),
    runtime=st.builds(
        RuntimeNeeds,
        opsets=st.dictionaries(st.text(), st.integers(1, 2**53)),
        ir_version=st.integers(1, 20),
        min_onnxruntime=st.text(),
        session_options=st.dictionaries(st.text(), st.text()),
    ),
    tolerance=st.builds(
        Tolerance,
        rtol=st.floats(allow_nan=False, allow_infinity=False),
        atol=st.floats(allow_nan=False, allow_infinity=False),
    ),
    conversion=st.dictionaries(st.text(), JSON),
)
def test_any_manifest_survives_writing_and_reading(
    flavor: str,
    runtime: RuntimeNeeds,
    tolerance: Tolerance,
    conversion: dict[str, object],
) -> None:
    written = dataclasses.replace(
        manifest(),
        flavor=flavor,
        runtime=runtime,
        tolerance=tolerance,
        conversion=conversion,
    )
    assert Manifest.from_json(written.to_json()) == written


@given(st.dictionaries(st.text().filter(lambda key: key not in KNOWN), JSON, min_size=1))
def test_fields_of_a_newer_release_tool_are_kept(extra: dict[str, object]) -> None:
    read = parse({**DOCUMENT, **extra})
    assert read.extra == extra
    assert json.loads(read.to_json()) == {**DOCUMENT, **extra}


def test_the_extensions_a_flavor_needs_are_kept_and_left_out_where_it_needs_none() -> None:
    plain = manifest()
    needing = dataclasses.replace(
        plain, runtime=dataclasses.replace(plain.runtime, isas=("neon", "vnni"))
    )
    assert Manifest.from_json(needing.to_json()) == needing
    assert b"isas" not in plain.to_json()


def test_figures_that_older_manifests_lack_are_absent_again_when_they_are_written() -> None:
    assert not {"load_peak_rss_bytes", "runtime_floor_bytes", "estimated_peak_bytes"} & set(
        DOCUMENT["footprint"]
    )
    told = dataclasses.replace(
        manifest().footprint,
        load_peak_rss_bytes=60,
        runtime_floor_bytes=50,
        estimated_peak_bytes=70,
    )
    written = dataclasses.replace(manifest(), footprint=told)
    assert Manifest.from_json(written.to_json()) == written


def test_equal_manifests_give_equal_bytes_whatever_the_order_of_their_fields() -> None:
    members = dict(sorted(manifest().files.items(), key=str))
    assert dataclasses.replace(manifest(), files=members).to_json() == manifest().to_json()


def test_a_format_of_the_future_is_refused_and_says_to_update() -> None:
    with pytest.raises(TrustError, match="format 2, this edgekit reads up to 1; update"):
        parse({**DOCUMENT, "format": 2})


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "a/b", "", ".hidden", "Model.onnx", "m\n"]
)
def test_a_member_that_could_leave_its_folder_is_refused(name: str) -> None:
    files = {**DOCUMENT["files"], name: {"sha256": "ab" * 32, "length": 1}}
    with pytest.raises(TrustError, match="plain lower-case file name"):
        parse({**DOCUMENT, "files": files})


def test_a_manifest_that_describes_itself_is_refused() -> None:
    files = {**DOCUMENT["files"], "manifest.json": {"sha256": "ab" * 32, "length": 1}}
    with pytest.raises(TrustError, match="plain lower-case file name"):
        parse({**DOCUMENT, "files": files})


def test_a_manifest_without_a_model_is_refused() -> None:
    with pytest.raises(TrustError, match=r"an entry model\.onnx is expected"):
        parse({**DOCUMENT, "files": {}})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "source_sha256"), "AB" * 32),
        (("files", "model.onnx", "length"), -1),
        (("files", "model.onnx", "length"), 1.0),
        (("files", "model.onnx", "length"), True),
        (("runtime", "opsets", ""), 0),
        (("binding", "inputs"), []),
        (("binding", "outputs"), []),
        (("binding", "inputs", 0, "columns"), []),
        (("binding", "inputs", 0, "columns"), ["a"] * (MAX_COLUMNS + 1)),
        (("binding", "inputs", 0, "shape"), [-2]),
        (("binding", "outputs", 0, "role"), "oracle"),
        (("tolerance", "rtol"), 10**400),
    ],
)
def test_a_value_out_of_range_is_refused(path: tuple[object, ...], value: object) -> None:
    with pytest.raises(TrustError, match="is expected"):
        parse(replaced(DOCUMENT, path, value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"format": NaN}',
        b'{"flavor": "\\ud800"}',
        b"[" * 100_000,
        b'{"format": ' + b"9" * 5_000 + b"}",
    ],
)
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(TrustError, match="manifest: "):
        Manifest.from_json(data)


@given(st.sampled_from(sorted(places(DOCUMENT), key=str)), JSON)
def test_a_manifest_changed_anywhere_is_read_or_refused_and_never_crashes(
    path: tuple[object, ...], value: object
) -> None:
    changed = json.dumps(replaced(DOCUMENT, path, value)).encode()
    try:
        read = Manifest.from_json(changed)
    except TrustError:
        return
    assert Manifest.from_json(read.to_json()) == read


@given(st.binary())
def test_noise_is_refused_and_never_crashes(data: bytes) -> None:
    with pytest.raises(TrustError):
        Manifest.from_json(data)


def test_a_manifest_cannot_be_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest().flavor = "int8"  # type: ignore[misc]  # what is tested
    with pytest.raises(dataclasses.FrozenInstanceError):
        Member(sha256="", length=0).length = 1  # type: ignore[misc]  # what is tested
