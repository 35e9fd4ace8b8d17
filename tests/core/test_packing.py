import io
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from edgekit import bundle
from edgekit.conversion import ConversionRequest
from edgekit.errors import ConversionError, TrustError
from edgekit.manifest import Manifest, ModelIdentity
from edgekit.release.packing import Packed, fitting_chunk_bytes, pack, record, store
from edgekit.statement import CHUNK_BYTES, MAX_CHUNK_BYTES
from edgekit.wire import MAX_BUNDLE_BYTES, MAX_CHUNKS
from tests.core.workshop import flavor_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    request = ConversionRequest(
        model_folder=tmp_path,
        identity=ModelIdentity(
            name="wine", version="3", run_id="8f0c", source_sha256="ab" * 32
        ),
        boards=(),
        out=tmp_path,
    )
    weights = bytes(range(256)) * 1000
    return flavor_folder(tmp_path / "int8", "int8", request, weights)


def changed(packed: Packed, **identity: str) -> Packed:
    model = replace(packed.manifest.model, **identity)
    entry = replace(packed.entry, sha256=sha256(repr(identity).encode()).hexdigest())
    return replace(packed, manifest=replace(packed.manifest, model=model), entry=entry)


def test_the_entry_describes_the_bytes_that_are_stored(
    folder: Path, tmp_path: Path
) -> None:
    packed = pack(folder, boards=("raspberry-pi-4",))
    store(tmp_path / "repository", packed)

    content = (tmp_path / "repository" / "blobs" / packed.entry.sha256).read_bytes()
    index = tmp_path / "repository" / "files" / "index" / packed.entry.index_sha256
    manifest, members = bundle.read_members(io.BytesIO(content))
    assert sha256(content).hexdigest() == packed.entry.sha256
    assert len(content) == packed.entry.length
    assert index.read_bytes() == bundle.chunk_index(content, CHUNK_BYTES)
    assert sha256(index.read_bytes()).hexdigest() == packed.entry.index_sha256
    assert manifest == packed.manifest
    assert packed.entry.unpacked_bytes == sum(
        path.stat().st_size for path in folder.iterdir()
    )
    assert members.keys() == {"model.onnx", "golden.json"}
    assert packed.entry.boards == ("raspberry-pi-4",)


def test_the_extensions_a_flavor_needs_go_into_the_record(folder: Path) -> None:
    path = folder / "manifest.json"
    plain = Manifest.from_json(path.read_bytes())
    assert pack(folder, boards=()).entry.isas == ()
    needing = replace(plain.runtime, isas=("neon", "vnni"))
    path.write_bytes(replace(plain, runtime=needing).to_json())
    assert pack(folder, boards=()).entry.isas == ("neon", "vnni")


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    assert pack(folder, boards=()) == pack(folder, boards=())


def test_a_damaged_blob_is_written_again(folder: Path, tmp_path: Path) -> None:
    packed = pack(folder, boards=())
    store(tmp_path, packed)
    blob = tmp_path / "blobs" / packed.entry.sha256
    blob.write_bytes(blob.read_bytes()[:-1])

    store(tmp_path, packed)

    assert blob.read_bytes() == packed.content


@pytest.mark.parametrize(
    ("length", "chunk_bytes"),
    [
        (1, CHUNK_BYTES),
        (MAX_CHUNKS * CHUNK_BYTES, CHUNK_BYTES),
        (MAX_CHUNKS * CHUNK_BYTES + 1, CHUNK_BYTES + 1),
        (MAX_BUNDLE_BYTES, MAX_CHUNK_BYTES),
    ],
)
def test_a_long_bundle_takes_longer_chunks(length: int, chunk_bytes: int) -> None:
    assert fitting_chunk_bytes("wine 3 fp32", length) == chunk_bytes


def test_a_bundle_too_long_for_any_chunk_is_refused_with_both_sizes() -> None:
    with pytest.raises(
        ConversionError,
        match=r"^wine 3 fp32: its bundle takes 500\.0 MB, up to 499\.4 MB can be delivered;"
        " release a smaller flavor",
    ):
        fitting_chunk_bytes("wine 3 fp32", 500_000_000)


@pytest.mark.parametrize("name", ["model.onnx", "golden.json", "manifest.json"])
def test_a_flavor_that_lost_a_file_is_not_packed(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(ConversionError, match=r"a flavor as it was converted is expected"):
        pack(folder, boards=())


def test_a_flavor_that_was_edited_is_not_packed(folder: Path) -> None:
    (folder / "golden.json").write_bytes(b"[]")

    with pytest.raises(ConversionError, match="does not describe the members"):
        pack(folder, boards=())


def test_a_member_name_cannot_reach_outside_the_folder(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "model.onnx", tmp_path / "stolen")
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(manifest.replace(b"golden.json", b"../stolen"))

    with pytest.raises(ConversionError, match="plain lower-case file name"):
        pack(folder, boards=())


def test_bundles_released_before_stay_vouched_for(folder: Path) -> None:
    packed = pack(folder, boards=())
    first = record((packed,), already=None)
    again = changed(packed, run_id="8f0c")

    second = record((again,), already=first)

    assert [entry.sha256 for entry in second.bundles] == [
        again.entry.sha256,
        packed.entry.sha256,
    ]
    assert record((again,), already=second) == second


def test_a_version_whose_files_changed_in_the_registry_is_refused(folder: Path) -> None:
    packed = pack(folder, boards=())
    already = record((packed,), already=None)

    with pytest.raises(TrustError, match="its files have changed in the registry"):
        record((changed(packed, source_sha256="cd" * 32),), already=already)
