"""Named arrays in one .npz file that never holds a pickle. Knows no model.

Names may be anything a signature allows (empty, with slashes), so they are stored beside
the arrays. Texts are stored as fixed-width unicode and come back as objects.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from edgekit.errors import ConversionError
from edgekit.table import Array, Table

MAX_BYTES = 4 * 2**30  # of the arrays of one file, unpacked
_NAMES = "names"
_DAMAGED = (  # what zipfile, zlib and numpy raise for bytes that are not what they say
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def save(path: Path, table: Table) -> None:
    """Write a table; texts must all be texts (ConversionError otherwise)."""
    arrays = {f"a{n}": _storable(*item) for n, item in enumerate(table.items())}
    names = np.array([f"={name}" for name in table], dtype=str)
    np.savez(path, allow_pickle=False, **{_NAMES: names, **arrays})


def load(path: Path) -> dict[str, Array]:
    """Read a table that `save` wrote; ConversionError when it is not one."""
    named = load_npz(path)
    if _NAMES not in named:
        raise ConversionError(f"{path.name}: no list of names in it")
    names = [str(name)[1:] for name in named.pop(_NAMES)]
    return dict(zip(names, (named[f"a{n}"] for n in range(len(names))), strict=True))


def load_npz(path: Path) -> dict[str, Array]:
    """Read the arrays of any .npz file, refusing pickles and more than MAX_BYTES."""
    try:
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(member.file_size for member in packed.infolist())
        if unpacked > MAX_BYTES:
            raise ConversionError(
                f"{path.name}: {unpacked} bytes unpacked, at most {MAX_BYTES} are read"
            )
        with np.load(path, allow_pickle=False) as stored:
            return {name: _texts_as_objects(stored[name]) for name in stored.files}
    except _DAMAGED as error:
        raise ConversionError(f"{path.name}: not a readable .npz file: {error}") from error


def load_npy(path: Path) -> Array:
    """Read the array of an .npy file, refusing pickles."""
    try:
        return _texts_as_objects(np.load(path, allow_pickle=False, mmap_mode="r")[...])
    except _DAMAGED as error:
        raise ConversionError(f"{path.name}: not a readable .npy file: {error}") from error


def _storable(name: str, array: Array) -> Array:
    if array.dtype != object:
        return array
    if not all(isinstance(value, str) for value in array.flat):
        raise ConversionError(f"{name or 'tensor'}: only texts are expected among objects")
    return array.astype(str)


def _texts_as_objects(array: object) -> Array:
    if not isinstance(array, np.ndarray):  # numpy gives the bytes of what is no array
        raise ValueError("what is in it is no array")  # noqa: TRY004 - of a damaged file
    return array.astype(object) if array.dtype.kind == "U" else np.array(array)
