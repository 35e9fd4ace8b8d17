import hashlib
from pathlib import Path

import pytest

from edgekit.errors import RegistryError
from edgekit.registry.digest import source_digest


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def test_it_is_the_digest_of_what_sha256sum_prints(tmp_path: Path) -> None:
    model = folder(tmp_path, {"b/weights": b"w", "MLmodel": b"m"})
    lines = [
        f"{hashlib.sha256(b'm').hexdigest()}  MLmodel\n",
        f"{hashlib.sha256(b'w').hexdigest()}  b/weights\n",
    ]

    assert source_digest(model) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_file_mlflow_adds_at_download_does_not_count(tmp_path: Path) -> None:
    before = source_digest(folder(tmp_path, {"MLmodel": b"m"}))

    assert source_digest(folder(tmp_path, {"registered_model_meta": b"x"})) == before


@pytest.mark.parametrize(
    "change", [{"MLmodel": b"n"}, {"more": b""}, {"a/MLmodel": b"m"}, {"a": b"\n"}]
)
def test_any_other_change_changes_it(tmp_path: Path, change: dict[str, bytes]) -> None:
    before = source_digest(folder(tmp_path, {"MLmodel": b"m"}))

    assert source_digest(folder(tmp_path, change)) != before


def test_a_lone_file_has_a_digest_too(tmp_path: Path) -> None:
    folder(tmp_path, {"model.onnx": b"o"})

    assert source_digest(tmp_path / "model.onnx") == source_digest(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no files here"):
        source_digest(tmp_path)
