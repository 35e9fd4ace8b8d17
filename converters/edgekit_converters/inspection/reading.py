"""Find the ONNX graph in a file or folder, and refuse one that lies. Runs nothing.

Takes an .onnx file, a bundle, an MLflow model folder with the onnx flavor, or a folder
with a model.onnx. Weights in files of their own are counted, not read.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from edgekit import bundle
from edgekit.document import Reader
from edgekit.errors import ConversionError
from edgekit.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from edgekit_converters.encoding import decode
from edgekit_converters.intake import source
from edgekit_converters.intake.kind import Kind
from edgekit_converters.needs.functions import check_functions
from edgekit_converters.needs.sizes import tensor_bytes
from edgekit_converters.passes.walk import graphs, nodes

MAX_FILE_BYTES = 2 * 2**30  # protobuf reads no more
_PACKED = {TensorProto.COMPLEX64, TensorProto.COMPLEX128, TensorProto.STRING}
_ONNX_SUFFIX = ".onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A graph that can be believed, and where it came from.

    `file_bytes` holds its external data too; `outside` names the files of these.
    """

    path: Path
    model: ModelProto
    file_bytes: int
    outside: tuple[str, ...] = ()
    session_options: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> Graph:
    """Return the graph at a path; ConversionError for what is damaged or no ONNX.

    TrustError for a bundle that does not hold what it declares.
    """
    if not path.exists():
        raise ConversionError(f"{path}: no such file or folder")
    if path.is_file() and _head(path) in bundle.MAGICS:
        with path.open("rb") as stream:
            manifest, members = bundle.read_members(stream)
        return _graph(
            path, members[MODEL_NAME], manifest.runtime.session_options, path.parent
        )
    file = _file(path)
    if file.stat().st_size > MAX_FILE_BYTES:
        raise ConversionError(
            f"{file.name}: {file.stat().st_size:,} bytes, an ONNX file has at most"
            f" {MAX_FILE_BYTES:,}; larger models keep weights in files beside it"
        )
    return _graph(file, file.read_bytes(), _options(file), file.parent)


def _file(path: Path) -> Path:
    if path.is_file() and path.suffix == _ONNX_SUFFIX:
        return path
    if path.joinpath(MODEL_NAME).is_file():
        ours = path.joinpath(MANIFEST_NAME).is_file()  # with or without an MLmodel beside
        if ours or not path.joinpath(source.MLMODEL).exists():
            return path / MODEL_NAME
    found = source.read(path)
    if found.kind is not Kind.ONNX:
        raise ConversionError(
            f"{found.path.name}: {found.kind}, ONNX is inspected: `edgekit convert` makes"
            " ONNX of it, and its --out folder can be inspected"
        )
    return found.path


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(len(bundle.MAGIC))
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror}") from error


def _options(file: Path) -> Mapping[str, str]:
    """Return the session options of the manifest beside a flavor's model, if one is."""
    manifest = file.with_name(MANIFEST_NAME)
    if not manifest.is_file():
        return {}
    return Manifest.from_json(manifest.read_bytes()).runtime.session_options


def _graph(path: Path, data: bytes, options: Mapping[str, str], folder: Path) -> Graph:
    if not data:
        raise ConversionError(f"{path.name}: the file is empty, a model is expected")
    model = decode(data)
    if not model.graph.node and not model.graph.output:
        raise ConversionError(f"{path.name}: not an ONNX model: it has no graph")
    _check_texts(model, path.name)
    check_functions(model, path.name)
    _check_order(model.graph, set(), path.name)
    outside: dict[str, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            name, size = _external(tensor, folder, path.name)
            outside[name] = size
        else:
            _check_data(tensor, path.name)
    return Graph(
        path=path,
        model=model,
        file_bytes=len(data) + sum(outside.values()),
        outside=tuple(sorted(outside)),
        session_options=options,
    )


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in graphs(model.graph):
        yield from graph.initializer
    for node in nodes(model.graph):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t


def _check_texts(model: ModelProto, subject: str) -> None:
    """Refuse names that are not UTF-8: protobuf hands them out as bytes, or fails."""
    try:
        fine = all(isinstance(text, str) for text in _texts(model))
    except UnicodeDecodeError:
        fine = False
    if not fine:
        raise ConversionError(f"{subject}: a name in it is not UTF-8: a damaged file")


def _texts(model: ModelProto) -> Iterator[str]:
    yield from (model.producer_name, model.producer_version, model.graph.name)
    yield from (entry.domain for entry in model.opset_import)
    for function in model.functions:
        yield from (function.name, function.domain)
    every = [*nodes(model.graph), *(node for f in model.functions for node in f.node)]
    for node in every:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for graph in graphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
        yield from (tensor.name for tensor in graph.initializer)


def _check_order(graph: GraphProto, outer: set[str], subject: str) -> None:
    """Refuse a node that reads what only a later one makes: a cycle, or no order."""
    made = outer | {value.name for value in graph.input}
    made |= {tensor.name for tensor in graph.initializer}
    made |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        for name in node.input:
            if name and name not in made:
                raise ConversionError(
                    f"{subject}: {_label(node)} reads {name}, which nothing before it"
                    " makes: a cycle, an unsorted graph or a part of one"
                )
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _check_order(attribute.g, made, subject)
        made.update(node.output)
    for value in graph.output:
        if value.name not in made:
            raise ConversionError(f"{subject}: output {value.name} is made by no node")


def _label(node: NodeProto) -> str:
    return f"{node.op_type} {node.name}".strip()


def _check_data(tensor: TensorProto, subject: str) -> None:
    """Refuse a constant whose declared size is not what it holds."""
    if any(length < 0 for length in tensor.dims):
        raise ConversionError(
            f"{subject}: constant {tensor.name}: shape {list(tensor.dims)}, lengths of 0 or"
            " more are expected"
        )
    declared, held = tensor_bytes(tensor), len(tensor.raw_data)
    if tensor.HasField("raw_data"):
        if tensor.data_type not in _PACKED and held != declared:
            raise ConversionError(
                f"{subject}: constant {tensor.name} declares {declared:,} bytes and holds"
                f" {held:,}"
            )
        return
    elements = math.prod(tensor.dims)
    stored = sum(len(values) for values in _typed(tensor))
    if tensor.data_type not in _PACKED and not elements <= 2 * stored <= 2 * elements:
        raise ConversionError(
            f"{subject}: constant {tensor.name} declares {elements:,} elements and holds"
            f" {stored:,}"
        )


def _typed(tensor: TensorProto) -> tuple[list[object], ...]:
    return (
        tensor.float_data,
        tensor.int32_data,
        tensor.int64_data,
        tensor.double_data,
        tensor.uint64_data,
        tensor.string_data,
    )


def _external(tensor: TensorProto, folder: Path, subject: str) -> tuple[str, int]:
    """Return the file that holds a constant, and that file's size."""
    table = {entry.key: entry.value for entry in tensor.external_data}
    where = f"{subject}: constant {tensor.name}"
    about = Reader(table=table, subject=where, error=ConversionError)
    location = about.text("location", "")
    root = folder.resolve()
    file = root.joinpath(location).resolve()
    if not file.is_relative_to(root) or file == root:
        raise ConversionError(
            f"{where} wants data from {location!r}, outside the model's folder"
        )
    if not file.is_file():
        raise ConversionError(
            f"{where}: its data file {location} is missing; copy it beside the model"
        )
    try:
        start = int(about.text("offset", "0"))
        length = int(about.text("length", str(tensor_bytes(tensor))))
    except ValueError as error:
        raise ConversionError(f"{where}: {error}") from error
    size = file.stat().st_size
    if start < 0 or length < 0 or start + length > size:
        raise ConversionError(
            f"{where}: bytes {start} to {start + length} of {location}, which has {size}"
        )
    return location, size
