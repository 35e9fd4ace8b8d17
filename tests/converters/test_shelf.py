import os
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, StoreError
from edgekit_converters.outcome import shelf

FILES = {"fp32/model.onnx": b"model", "report.json": b"{}"}
NEWER = {"int8/model.onnx": b"smaller", "report.json": b"[]"}


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_new_folder_holds_exactly_the_files(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "flavors"
    shelf.place(out, FILES)
    assert content(out) == FILES
    assert [path.name for path in out.parent.iterdir()] == ["flavors"]


def test_an_older_conversion_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "flavors"
    shelf.place(out, FILES)
    shelf.place(out, NEWER)
    assert content(out) == NEWER
    assert [path.name for path in tmp_path.iterdir()] == ["flavors"]


@pytest.mark.parametrize("foreign", ["thesis.tex", "fp32/notes.txt", "src/main.py"])
def test_a_folder_with_other_files_is_refused_and_untouched(
    tmp_path: Path, foreign: str
) -> None:
    path = tmp_path / foreign
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    with pytest.raises(ConfigError, match="which no conversion wrote"):
        shelf.place(tmp_path, FILES)
    assert content(tmp_path) == {foreign: b"precious"}


def test_a_file_or_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("precious")
    (tmp_path / "elsewhere").mkdir()
    link.symlink_to(tmp_path / "elsewhere")
    for out in (file, link):
        with pytest.raises(ConfigError, match="not a folder"):
            shelf.place(out, FILES)


def test_a_disk_that_refuses_leaves_the_older_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "flavors"
    shelf.place(out, FILES)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="flavors: cannot be written: No space left"):
        shelf.place(out, NEWER)
    assert content(out) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["flavors"]


def test_a_rename_that_fails_puts_the_older_conversion_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "flavors"
    shelf.place(out, FILES)
    rename = Path.rename

    def once_too_often(self: Path, target: Path) -> Path:
        if target == out and (self / "int8").exists():
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", once_too_often)
    with pytest.raises(StoreError, match="Input/output error"):
        shelf.place(out, NEWER)
    assert content(out) == FILES
