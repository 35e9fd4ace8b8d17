"""Tell what a model file is from its first bytes. Runs nothing, trusts no file name."""

import zipfile
from pathlib import Path

from edgekit.errors import ConversionError
from edgekit_converters.intake import torch_archive
from edgekit_converters.intake.kind import Kind

MAX_UNPACKED_BYTES = 4 * 2**30
MAX_UNPACKED_RATIO = 200  # deflate reaches 1,032 on zeros, weights and trees below 20
_SMALL_BYTES = 64 * 2**20  # archives that unpack to less are not worth refusing
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"  # followed by the protocol, 2 to 5
_PROTOCOLS = range(2, 6)
_COMPRESSED = (b"\x1f\x8b", b"\x78", b"BZh", b"\xfd7zXZ")  # joblib's: gzip, zlib, ...
_COMPRESSED_SUFFIXES = (".gz", ".joblib", ".pickle", ".pkl", ".xz", ".z")
_MAGIC = (  # where in the file, what stands there, and what the file is then
    (0, b"\x89HDF\r\n\x1a\n", Kind.KERAS_H5),
    (0, torch_archive.LEGACY, Kind.TORCH_PICKLE),
    (4, b"TFL3", Kind.TFLITE),
    (0, (b"binf", b"{L\x00", b'{"learner"'), Kind.XGBOOST),
    (0, (b"tree\nversion=", b"tree\r\nversion="), Kind.LIGHTGBM),
    (0, (b"CBM1", b'{"features_info"', b'{\n  "features_info"'), Kind.CATBOOST),
)
_HEAD_BYTES = 64


def sniff(path: Path) -> Kind:
    """Return what a file or SavedModel folder is; ConversionError if nothing known."""
    if path.is_dir():
        return _folder(path)
    head = _head(path)
    if head.startswith(_ZIP):
        return _archive(path)
    for offset, magic, kind in _MAGIC:
        if head.startswith(magic, offset):
            return kind
    if _is_pickle(path, head):
        return Kind.SKLEARN_PICKLE
    if path.suffix == ".onnx":  # protobuf has no magic number: parsing will tell
        return Kind.ONNX
    raise ConversionError(
        f"{path.name}: not a model file that edgekit knows;"
        " ONNX, Keras, SavedModel, PyTorch, TFLite, XGBoost, LightGBM, CatBoost, skops or"
        " pickle is expected"
    )


def check_archive(path: Path) -> None:
    """Refuse an archive that is damaged or unpacks to far more than it holds."""
    members = _members(path)
    if members and min(member.header_offset for member in members) > 0:
        raise ConversionError(
            f"{path.name}: a damaged archive: its own directory is missing, what is there"
            " belongs to an archive inside it"
        )
    unpacked = sum(member.file_size for member in members)
    packed = path.stat().st_size
    if unpacked > MAX_UNPACKED_BYTES:
        raise ConversionError(
            f"{path.name}: it unpacks to {unpacked} bytes, at most {MAX_UNPACKED_BYTES}"
            " are expected"
        )
    if unpacked > _SMALL_BYTES and unpacked > packed * MAX_UNPACKED_RATIO:
        raise ConversionError(
            f"{path.name}: {packed} bytes unpack to {unpacked}, more than"
            f" {MAX_UNPACKED_RATIO} times as many: this looks like a zip bomb"
        )


def _folder(path: Path) -> Kind:
    if path.joinpath("saved_model.pb").is_file():
        return Kind.SAVED_MODEL
    if path.joinpath("metadata").is_dir() and path.joinpath("stages").is_dir():
        return Kind.SPARK
    raise ConversionError(
        f"{path.name}: neither an MLmodel file nor a saved_model.pb is in this folder"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise ConversionError(f"{path.name}: the file is empty, a model is expected")
    return head


def _is_pickle(path: Path, head: bytes) -> bool:
    if head.startswith(_PICKLE) and len(head) > 1 and head[1] in _PROTOCOLS:
        return True
    return head.startswith(_COMPRESSED) and path.suffix in _COMPRESSED_SUFFIXES


def _archive(path: Path) -> Kind:
    check_archive(path)
    names = {member.filename for member in _members(path)}
    if "schema.json" in names:
        return Kind.SKLEARN_SKOPS
    if "config.json" in names:
        return Kind.KERAS_ZIP
    torch = torch_archive.kind({name.partition("/")[2] for name in names}, names)
    if torch is Kind.TORCH_PICKLE and torch_archive.holds_only_weights(path):
        raise torch_archive.only_weights(path.name)
    if torch is not None:
        return torch
    raise ConversionError(
        f"{path.name}: an archive, but neither Keras's (config.json) nor skops's"
        " (schema.json) nor PyTorch's (data.pkl)"
    )


def _members(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ConversionError(f"{path.name}: a damaged archive: {error}") from error
