"""What a model folder or file holds, told without loading it. Runs nothing.

Reads MLflow's MLmodel file and the first bytes of the files it names.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from edgekit.document import Reader
from edgekit.errors import ConversionError
from edgekit.manifest import Signature
from edgekit_converters.intake.kind import RUNS_CODE, UNCONVERTED, Kind
from edgekit_converters.intake.sniffing import sniff

MLMODEL = "MLmodel"
MAX_MLMODEL_BYTES = 16 * 2**20
_BOOSTERS = ("xgboost", "lightgbm", "catboost")
# The first one present is taken.
_NETWORKS = ("keras", "tensorflow", "pytorch", "tflite")
_FLAVORS = ("onnx", "sklearn", *_NETWORKS, *_BOOSTERS, "spark")
_KERAS_FILES = ("model.keras", "model.h5", "model")
_TORCH_FILES = ("model.pt2", "model.pth")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputExample:
    """The rows that were logged with a model; `orient` is pandas's, "" for tensors."""

    path: Path
    type: str
    orient: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One model as it lies on disk.

    `path` is the model file (or SavedModel folder) in `folder`; `configuration` is what
    MLmodel says of the flavor. `predict_fn` is the native function that MLflow's
    python_function calls. `code` is a folder the model wants to import from.
    """

    kind: Kind
    path: Path
    folder: Path
    source_bytes: int
    signature: Signature = field(default_factory=Signature)
    predict_fn: str = "predict"
    configuration: Mapping[str, object] = field(default_factory=dict)
    example: InputExample | None = None
    code: Path | None = None

    def refuse_untrusted(self, *, trust_pickle: bool) -> None:
        """Raise ConversionError if loading would run the model's own code untrusted."""
        if self.kind in RUNS_CODE and not trust_pickle:
            raise ConversionError(f"{self.path.name}: {RUNS_CODE[self.kind]}")


def read(path: Path) -> Source:
    """Return what a model folder (with or without MLmodel) or a model file holds.

    ConversionError for what is damaged, unknown, or has no converter.
    """
    if path.joinpath(MLMODEL).is_file():
        return _mlflow(path)
    if not path.exists():
        raise ConversionError(f"{path}: no such model file or folder")
    return Source(kind=sniff(path), path=path, folder=path.parent, source_bytes=_size(path))


def _mlflow(folder: Path) -> Source:
    document = _document(folder / MLMODEL)
    flavors = document.named("flavors")
    pyfunc = flavors.get("python_function")
    flavor = _choose(folder, flavors)
    path = _model_path(folder, flavor, flavors[flavor])
    code = flavors[flavor].table.get("code")
    return Source(
        kind=sniff(path),
        path=path,
        folder=folder,
        source_bytes=_size(path),
        signature=_signature(document),
        predict_fn=pyfunc.text("predict_fn", "predict") if pyfunc else "predict",
        configuration=flavors[flavor].table,
        example=_example(folder, document),
        code=_inside(folder, code) if isinstance(code, str) else None,
    )


def _document(path: Path) -> Reader:
    if path.stat().st_size > MAX_MLMODEL_BYTES:
        raise ConversionError(
            f"{MLMODEL}: {path.stat().st_size} bytes, at most {MAX_MLMODEL_BYTES} are read"
        )
    try:
        document = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConversionError(f"{MLMODEL}: not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConversionError(f"{MLMODEL}: a mapping with flavors is expected")
    return Reader(table=document, subject=MLMODEL, error=ConversionError)


def _choose(folder: Path, flavors: Mapping[str, Reader]) -> str:
    for flavor in _FLAVORS:
        if flavor in flavors:
            return flavor
    for flavor in UNCONVERTED:
        if flavor in flavors:
            raise ConversionError(
                f"{folder.name}: a {flavor} model, for which edgekit has no converter;"
                f" {UNCONVERTED[flavor]}"
            )
    if list(flavors) == ["python_function"]:
        raise ConversionError(
            f"{folder.name}: only a python_function; Python code cannot become ONNX."
            " Log the model inside it with its own flavor (mlflow.sklearn, mlflow.keras,"
            " mlflow.onnx)"
        )
    raise ConversionError(
        f"{folder.name}: flavors {', '.join(flavors) or 'none'};"
        f" one of {', '.join(_FLAVORS)} is expected"
    )


def _model_path(folder: Path, flavor: str, reader: Reader) -> Path:
    if flavor in {"onnx", *_BOOSTERS}:
        return _inside(folder, reader.text("data"))
    if flavor == "sklearn":
        return _inside(folder, reader.text("pickled_model"))
    if "saved_model_dir" in reader.table:
        return _inside(folder, reader.text("saved_model_dir"))
    if flavor == "spark":
        return _inside(folder, reader.text("model_data"))
    if flavor == "pytorch":
        return _first(folder, _inside(folder, reader.text("model_data")), _TORCH_FILES)
    return _first(folder, _inside(folder, reader.text("data")), _KERAS_FILES)


def _first(folder: Path, data: Path, names: Sequence[str]) -> Path:
    if data.is_file():
        return data
    for name in names:
        if data.joinpath(name).exists():
            return _inside(folder, str(data.joinpath(name).relative_to(folder.resolve())))
    raise ConversionError(f"{data.name}: none of {', '.join(names)} is in it")


def _inside(folder: Path, name: str) -> Path:
    root = folder.resolve()
    path = root.joinpath(name).resolve()
    if not path.is_relative_to(root):
        raise ConversionError(f"{MLMODEL}: {name} leads out of the model's folder")
    if not path.exists():
        raise ConversionError(f"{MLMODEL}: {name} is named but missing in the folder")
    return path


def _signature(document: Reader) -> Signature:
    reader = document.child("signature") if document.table.get("signature") else None
    if reader is None:
        return Signature()
    return Signature(
        inputs=_schema(reader, "inputs"),
        outputs=_schema(reader, "outputs"),
        params=_schema(reader, "params"),
    )


def _schema(reader: Reader, key: str) -> list[dict[str, object]] | None:
    value = reader.table.get(key)
    if value is None:
        return None
    try:
        schema = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{reader.subject}: {key}: not JSON: {error}") from error
    if not isinstance(schema, list) or not all(isinstance(s, dict) for s in schema):
        reader.fail(key, "a JSON list of columns or tensors")
    return schema


def _example(folder: Path, document: Reader) -> InputExample | None:
    if not document.table.get("saved_input_example_info"):
        return None
    reader = document.child("saved_input_example_info")
    return InputExample(
        path=_inside(folder, reader.text("artifact_path")),
        type=reader.text("type"),
        orient=reader.text("pandas_orient", ""),
    )


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
