"""Whole, small examples of the contract's documents, for tests to change."""

import copy
from collections.abc import Iterator, Mapping
from typing import cast

from hypothesis import strategies as st

from edgekit.bundle import describe
from edgekit.manifest import (
    Binding,
    Footprint,
    Manifest,
    ModelIdentity,
    OutputRole,
    RuntimeNeeds,
    Signature,
    TensorInput,
    TensorOutput,
    Tolerance,
)
from edgekit.statement import BundleEntry, ReleaseRecord, StagePointer

MEMBERS: Mapping[str, bytes] = {"model.onnx": b"weights" * 20, "golden.json": b"{}"}

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=20), inner, max_size=3)
    ),
    max_leaves=6,
)


def manifest(members: Mapping[str, bytes] = MEMBERS) -> Manifest:
    """The manifest of a flavor of a wine classifier, describing `members`."""
    return Manifest(
        model=ModelIdentity(
            name="wine", version="3", run_id="8f0c", source_sha256="ab" * 32
        ),
        flavor="fp32",
        files={name: describe(content) for name, content in members.items()},
        runtime=RuntimeNeeds(
            opsets={"": 17, "ai.onnx.ml": 3},
            ir_version=8,
            min_onnxruntime="1.16",
            session_options={"session.disable_quant_qdq": "1"},
        ),
        footprint=Footprint(
            model_bytes=140,
            peak_rss_bytes=60 * 2**20,
            load_us=4_000,
            one_row_p50_us=11,
            one_row_p95_us=27,
            measured_on="x86_64, onnxruntime 1.31.1",
        ),
        signature=Signature(
            inputs=[{"name": "alcohol", "type": "double", "required": True}],
            outputs=[{"type": "long", "required": True}],
        ),
        binding=Binding(
            inputs=(
                TensorInput(name="x", dtype="float32", columns=("alcohol",), shape=(-1, 1)),
            ),
            outputs=(
                TensorOutput(
                    name="",
                    tensor="label",
                    role=OutputRole.PREDICTION,
                    dtype="int64",
                    shape=(-1,),
                ),
            ),
            classes=("0", "1"),
        ),
        tolerance=Tolerance(rtol=1e-4, atol=1e-5),
        tools={"edgekit": "0.1.0"},
    )


def record() -> ReleaseRecord:
    """The release record of one version with one bundle."""
    return ReleaseRecord(
        model="wine",
        version="3",
        run_id="8f0c",
        source_sha256="ab" * 32,
        bundles=(
            BundleEntry(
                flavor="fp32",
                sha256="cd" * 32,
                length=200_000,
                chunk_bytes=65_024,
                index_sha256="ef" * 32,
                unpacked_bytes=300_000,
                peak_rss_bytes=60 * 2**20,
                min_onnxruntime="1.16",
                one_row_p95_us=27,
                boards=("raspberry-pi-4",),
                isas=("neon",),
            ),
        ),
    )


def pointer() -> StagePointer:
    """The production stage's pointer to that version."""
    return StagePointer(
        model="wine",
        stage="production",
        version="3",
        rollout=7,
        bundles={"fp32": "cd" * 32},
    )


def places(document: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Yield the path of every value inside a JSON document."""
    if isinstance(document, dict | list):
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in pairs:
            yield (*path, key)
            yield from places(value, (*path, key))


def replaced(document: object, path: tuple[object, ...], value: object) -> object:
    """Return a copy of a JSON document with one value replaced."""
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = cast("dict[object, object]", inner)[key]
    cast("dict[object, object]", inner)[path[-1]] = value
    return changed
