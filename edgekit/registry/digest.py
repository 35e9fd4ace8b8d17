"""The source digest: one SHA-256 for all files of a downloaded model version.

Knows a folder and nothing of MLflow but the one file it adds by itself. The digest is the
SHA-256 of one line per file, sorted by name: the file's SHA-256 in hexadecimal, two
spaces, its path relative to the folder with `/` between parts, a line feed (what
`sha256sum` prints). `registered_model_meta` is left out: MLflow writes it at download.
"""

import hashlib
from pathlib import Path

from edgekit.errors import RegistryError

_ADDED_AT_DOWNLOAD = "registered_model_meta"


def source_digest(folder: Path) -> str:
    """Return the digest of a model's folder (or lone file), or raise RegistryError."""
    if folder.is_file():
        return _digest_of({folder.name: folder})
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.name != _ADDED_AT_DOWNLOAD
    }
    if not files:
        raise RegistryError(f"{folder}: no files here, a downloaded model is expected")
    return _digest_of(files)


def _digest_of(files: dict[str, Path]) -> str:
    lines = []
    for name in sorted(files):
        with files[name].open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()
