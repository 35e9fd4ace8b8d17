"""Everything an earlier edgekit wrote is read as it was meant, for ever."""

import hashlib
import io
from pathlib import Path

import numpy as np

from edgekit import bundle, golden
from edgekit.manifest import Manifest, OutputRole
from edgekit.runtime import Session
from edgekit.statement import BundleEntry, ReleaseRecord, StagePointer
from edgekit.wire import Chunk, Want, decode_names, split_index

HERE = Path(__file__).parent
FORMAT_1 = HERE / "1"
BUNDLE = (FORMAT_1 / "bundle.edgekit").read_bytes()
DIGEST = "472e64505b255bd3953ef148ae7bea94abd48ece5a33b1becc85720bd0ed4d90"
MODEL = "doubler d'été"


def unpacked() -> tuple[Manifest, dict[str, bytes]]:
    return bundle.read_members(io.BytesIO(BUNDLE))


def test_no_vector_was_changed_removed_or_forgotten() -> None:
    lines = (HERE / "SHA256SUMS").read_text("utf-8").splitlines()
    listed = {path: digest for digest, path in (line.split("  ") for line in lines)}
    found = {
        str(path.relative_to(HERE)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in HERE.glob("[0-9]*/*")
    }
    assert found == listed
    assert list(listed) == sorted(listed)


def test_the_first_bundle_is_read() -> None:
    assert hashlib.sha256(BUNDLE).hexdigest() == DIGEST
    manifest, members = unpacked()
    assert manifest.format == 1
    assert (manifest.model.name, manifest.model.version) == (MODEL, "1")
    assert manifest.model.run_id == "0123456789abcdef0123456789abcdef"
    assert manifest.flavor == "fp32"
    assert manifest.runtime.opsets == {"": 13}
    assert manifest.runtime.ir_version == 8
    assert manifest.runtime.session_options == {"session.disable_quant_qdq": "1"}
    assert manifest.footprint.peak_rss_bytes == 60 * 2**20
    assert manifest.signature.inputs == [
        {"name": "a", "type": "double", "required": True},
        {"name": "b", "type": "double", "required": True},
    ]
    assert manifest.signature.params is None
    assert manifest.binding.inputs[0].columns == ("a", "b")
    assert manifest.binding.inputs[0].shape == (-1, 2)
    assert manifest.binding.outputs[0].role is OutputRole.PREDICTION
    assert (manifest.tolerance.rtol, manifest.tolerance.atol) == (1e-4, 1e-5)
    assert manifest.extra == {"x-future": {"kept": True}}
    assert sorted(members) == ["golden.json", "model.onnx"]


def test_the_model_of_the_first_bundle_passes_its_golden_vectors() -> None:
    manifest, members = unpacked()
    vectors = golden.decode(members["golden.json"])
    x = np.stack([vectors.inputs["a"], vectors.inputs["b"]], axis=1).astype(np.float32)
    outputs = Session.load(members["model.onnx"], manifest.runtime).run({"x": x})
    assert golden.compare(vectors, outputs, manifest.tolerance) == 0


def test_the_first_bundle_in_columns_is_read() -> None:
    data = (HERE / "2" / "bundle.edgekit").read_bytes()
    manifest, members = bundle.read_members(io.BytesIO(data))
    assert data[:8] == bundle.MAGIC_2
    assert manifest.model.name == "wine"
    assert members["golden.json"] == b"{}"
    digest = hashlib.sha256(members["model.onnx"]).hexdigest()
    assert digest == "2af9c6079ae4481c5fffec7b0fd36b975dd6df9762d00a169cc3694301b7e493"


def test_the_first_release_record_is_read() -> None:
    record = ReleaseRecord.from_json((FORMAT_1 / "release-record.json").read_bytes())
    index = (FORMAT_1 / "chunk-index.bin").read_bytes()
    assert (record.model, record.version, record.extra) == (MODEL, "1", {"x-future": 1})
    assert record.bundles == (
        BundleEntry(
            flavor="fp32",
            sha256=DIGEST,
            length=len(BUNDLE),
            chunk_bytes=256,
            index_sha256=hashlib.sha256(index).hexdigest(),
            unpacked_bytes=320,
            peak_rss_bytes=60 * 2**20,
            min_onnxruntime="1.16",
            one_row_p95_us=9,
            boards=("raspberry-pi-4",),
            isas=("neon",),
        ),
    )


def test_the_first_stage_pointer_is_read() -> None:
    pointer = StagePointer.from_json((FORMAT_1 / "stage-pointer.json").read_bytes())
    assert pointer == StagePointer(
        model=MODEL,
        stage="production",
        version="1",
        rollout=3,
        bundles={"fp32": DIGEST},
        extra={"x-future": 1},
    )


def test_the_first_chunk_and_its_index_are_read() -> None:
    chunk = Chunk.decode((FORMAT_1 / "chunk.bin").read_bytes())
    digests = split_index((FORMAT_1 / "chunk-index.bin").read_bytes())
    assert chunk == Chunk(epoch=0xA1B2C3D4, sequence=7, number=1, data=BUNDLE[256:512])
    assert hashlib.sha256(chunk.data).digest() == digests[1]
    assert digests == split_index(bundle.chunk_index(BUNDLE, 256))


def test_the_first_want_is_read() -> None:
    assert Want.decode((FORMAT_1 / "want.bin").read_bytes()) == Want(
        sha256=DIGEST,
        epoch=0xA1B2C3D4,
        last_sequence=7,
        window=32,
        chunks=4,
        missing=frozenset({0, 2}),
    )


def test_the_first_index_of_names_is_read() -> None:
    assert decode_names((FORMAT_1 / "index.txt").read_bytes()) == {
        "1.root.json",
        f"targets/stages/production/{'ab' * 32}.wine.json",
        "timestamp.json",
    }
