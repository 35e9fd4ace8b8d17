"""Keras models, in Keras 3's archive or in HDF5 (Keras 2 and 3), to ONNX.

Files that would run their own code (Lambda layers, classes of other modules) are refused
before loading, unless that was allowed.
"""

import json
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # it ships none
import keras
import tensorflow as tf

from edgekit.errors import ConversionError
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks.ports import Port
from edgekit_converters.frameworks.tensor_flow import keras_2
from edgekit_converters.frameworks.tensor_flow.tensorflow_graph import (
    TensorFlowModel,
    extract,
    port,
)
from edgekit_converters.intake.kind import Kind
from edgekit_converters.job import Job

MAX_CONFIG_BYTES = 64 * 2**20
_PICKLES = ("global_custom_objects.cloudpickle", "custom_objects.cloudpickle")
_SUFFIXES = {Kind.KERAS_ZIP: ".keras", Kind.KERAS_H5: ".h5"}
_OWN_MODULES = ("keras", "tf_keras", "tensorflow.keras", "builtins")
_ENCODING = frozenset(  # preprocessing layers that end in tables or hashes
    {
        "Discretization",
        "HashedCrossing",
        "Hashing",
        "IntegerLookup",
        "StringLookup",
        "TextVectorization",
    }
)
_LOADING = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    tf.errors.OpError,
)


def convert(job: Job) -> Extraction:
    """Load the model, ask it about the samples, and convert it.

    ConversionError when it must not be loaded, cannot be, or has no faithful ONNX form.
    """
    try:
        _check(job, _config(job))
    except RecursionError as error:
        raise ConversionError(
            f"{job.source.path.name}: a damaged Keras file: nested too deeply"
        ) from error
    return extract(job, _function(job, _load(job)))


def _check(job: Job, config: object) -> None:
    """Refuse what must not be loaded, or cannot be, by its configuration alone."""
    name = job.source.path.name
    custom = sorted(set(_custom(config)))
    pickled = _pickles(job)
    if custom and not pickled:
        raise ConversionError(
            f"{name}: it uses {', '.join(custom)}, whose code is not in the file; export"
            " the model as a SavedModel (model.export) where that code is"
        )
    foreign = sorted({*_foreign(config), *custom})
    if foreign and not job.trust_pickle:
        raise ConversionError(
            f"{name}: loading it would run code of {', '.join(foreign)}. If you trust where"
            " it comes from, allow it with --trust-pickle; otherwise replace it by Keras's"
            " own layers"
        )
    zipped = job.source.kind is Kind.KERAS_ZIP
    if zipped and keras_2.uses_hard_sigmoid(config) and keras_2.is_keras_2(_version(job)):
        raise ConversionError(
            f"{name}: its hard_sigmoid is Keras 2's, 0.2 x + 0.5, and Keras"
            f" {keras.__version__} computes x / 6 + 0.5; export the model as a SavedModel"
            " (model.export) where it was made, or save it as .h5 there"
        )
    encoding = sorted(_ENCODING.intersection(_layers(config)))
    if encoding:
        raise ConversionError(
            f"{name}: its {', '.join(encoding)} layer encodes by a table or by hashing,"
            " which has no ONNX form here; take it out of the model and encode before it"
        )


def _pickles(job: Job) -> list[Path]:
    """Return the files in which MLflow keeps the classes of a model's own, if any."""
    beside = job.source.path.parent
    return [beside / name for name in _PICKLES if beside.joinpath(name).is_file()]


def _config(job: Job) -> object:
    path = job.source.path
    try:
        if job.source.kind is Kind.KERAS_H5:
            with h5py.File(path, "r") as stored:
                text = stored.attrs.get("model_config")
            if text is None:
                raise ConversionError(
                    f"{path.name}: it holds weights only; save the whole model"
                    " (model.save), not its weights"
                )
        else:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > MAX_CONFIG_BYTES:
                    raise ConversionError(f"{path.name}: its config.json is too long")
                text = archive.read("config.json")
        config: object = json.loads(text)
    except (OSError, LookupError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ConversionError(f"{path.name}: a damaged Keras file: {error}") from error
    return config


def _version(job: Job) -> str:
    """Return the Keras that wrote the file, "" where it does not say."""
    if job.source.kind is Kind.KERAS_H5:
        with h5py.File(job.source.path, "r") as stored:
            said = stored.attrs.get("keras_version", "")
        return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    try:
        with zipfile.ZipFile(job.source.path) as archive:
            if archive.getinfo("metadata.json").file_size > MAX_CONFIG_BYTES:
                return ""
            metadata = json.loads(archive.read("metadata.json"))
    except (LookupError, ValueError):
        return ""
    return str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""


def _foreign(config: object) -> Iterator[str]:
    """Yield what a configuration names that is not Keras's own, and Lambda layers."""
    if isinstance(config, list):
        for entry in config:
            yield from _foreign(entry)
    if not isinstance(config, dict):
        return
    name, module = config.get("class_name"), config.get("module")
    if name in {"Lambda", "__lambda__"}:
        yield "a Lambda layer"
    if isinstance(module, str) and not _is_own(module):
        yield f"{module}.{name}"
    for entry in config.values():
        yield from _foreign(entry)


def _custom(config: object) -> Iterator[str]:
    """Yield the registered names of classes that are not Keras's own.

    They are "package>Class", or a class of no module that could be imported.
    """
    if isinstance(config, list):
        for entry in config:
            yield from _custom(entry)
    if not isinstance(config, dict):
        return
    for key in ("registered_name", "class_name"):
        homeless = key == "registered_name" and config.get("module", "") is None
        if isinstance(config.get(key), str) and (homeless or ">" in config[key]):
            yield config[key]
    for entry in config.values():
        yield from _custom(entry)


def _layers(config: object) -> Iterator[str]:
    """Yield the names of all classes that a configuration uses."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config["class_name"]
        config = list(config.values())
    for entry in config if isinstance(config, list) else ():
        yield from _layers(entry)


def _is_own(module: str) -> bool:
    return any(module == own or module.startswith(f"{own}.") for own in _OWN_MODULES)


def _load(job: Job) -> Any:  # noqa: ANN401 - Keras has no types
    """Load under the suffix that the bytes ask for: Keras goes by the file's name."""
    path = job.source.path
    own = _own_classes(job) if job.trust_pickle else {}
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / f"model{_SUFFIXES[job.source.kind]}"
        named.symlink_to(path.resolve())
        try:
            return keras.models.load_model(
                named,
                compile=False,
                custom_objects=keras_2.custom_objects(_version(job)) | own,
                safe_mode=not job.trust_pickle,
            )
        except _LOADING as error:
            raise ConversionError(
                f"{path.name}: Keras {keras.__version__} cannot load it"
                f" ({type(error).__name__}: {' '.join(str(error).split())[:300]});"
                " export it as a SavedModel (model.export) where it was made"
            ) from error


def _own_classes(job: Job) -> dict[str, Any]:
    """Unpickle the classes that MLflow put beside the model; those that cannot be, not."""
    found: dict[str, Any] = {}
    for path in _pickles(job):
        try:
            objects = pickle.loads(path.read_bytes())  # noqa: S301 - the caller trusts it
        except (*_LOADING, EOFError, pickle.UnpicklingError):
            continue  # MLflow pickles classes of the optimizer's too, which may be gone
        if isinstance(objects, dict):
            found |= objects
    return found


def _function(job: Job, model: Any) -> TensorFlowModel:  # noqa: ANN401 - Keras has no types
    name = job.source.path.name
    if not getattr(model, "inputs", None):
        raise ConversionError(
            f"{name}: a subclassed model that does not tell its inputs; export it as a"
            " SavedModel (model.export) and log that"
        )
    ports = tuple(_port(each, number) for number, each in enumerate(model.inputs))

    nested = model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    def call(*given: Any) -> list[Any]:  # noqa: ANN401 - TensorFlow has no types
        packed = keras.tree.pack_sequence_as(nested, list(given))
        return list(keras.tree.flatten(model(packed, training=False)))

    return TensorFlowModel(
        name=name,
        call=call,
        ports=ports,
        outputs=_output_names(model),
        framework="keras",
    )


def _port(tensor: Any, number: int) -> Port:  # noqa: ANN401 - Keras has no types
    plain = port(tensor.name, tensor)
    return Port(
        name=plain.name,
        dtype=plain.dtype,
        shape=(-1, *plain.shape[1:]),  # a batch size that was fixed is only a hint
        tensor=f"input{number}",
    )


def _output_names(model: Any) -> tuple[str, ...]:  # noqa: ANN401 - Keras has no types
    if len(model.outputs) == 1:
        return ("",)
    if isinstance(model.output, dict):
        return tuple(sorted(model.output))  # the order that keras.tree flattens in
    return tuple(model.output_names)
