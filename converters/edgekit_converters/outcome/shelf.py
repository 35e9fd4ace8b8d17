"""Put a conversion's files in place: all of them, or none. Knows no format.

The folder is built beside its place and renamed into it. An older conversion there is
replaced; a folder that holds anything else is refused before any work is done.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgekit.atomic import sync_folder
from edgekit.errors import ConfigError, StoreError

REPORT_JSON = "report.json"
REPORT_HTML = "report.html"
NAMES = "names.json"  # what the original calls the model's inner values; not in the bundle
_FLAVOR_FILES = {
    "MLmodel",
    "golden.json",
    "manifest.json",
    "model.onnx",
    "profile.json",
    NAMES,
    "requirements.txt",
}


def check(out: Path) -> None:
    """Raise ConfigError if `out` holds what a conversion did not write."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ConfigError(f"{out}: not a folder, one that may be replaced is expected")
    for path in sorted(out.iterdir()) if out.is_dir() else ():
        if not _ours(path):
            raise ConfigError(
                f"{out}: holds {path.name}, which no conversion wrote; an empty or new"
                " folder is expected"
            )


def place(out: Path, files: Mapping[str, bytes]) -> None:
    """Make `out` hold exactly `files` (path with slashes -> content).

    StoreError when the disk refuses; what was there before is then still there.
    """
    check(out)
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            _fill(beside, files)
            _swap(beside, out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written: {error.strerror}") from error


def _ours(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        return {entry.name for entry in path.iterdir()} <= _FLAVOR_FILES
    return path.name in {REPORT_JSON, REPORT_HTML}


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.chmod(0o755)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for inner in {(folder / name).parent for name in files} | {folder}:
        sync_folder(inner)


def _swap(beside: Path, out: Path) -> None:
    """Rename the new folder into place; the old one is deleted only after that."""
    if not out.exists():
        beside.rename(out)
        sync_folder(out.parent)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    out.rename(old)
    try:
        beside.rename(out)
    except OSError:
        old.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)
