"""ONNX in: one self-contained file, checked, its inputs and outputs bound.

Opset, inputs and output names stay: what comes out answers as what came in, and any other
change is told in a note. Runs no code of the model's; refuses data outside its folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from onnx import (
    ModelProto,
    TensorProto,
    ValueInfoProto,
    external_data_helper,
    helper,
    inliner,
)
from onnx.checker import ValidationError

from edgekit import runtime
from edgekit.binding import Predictions
from edgekit.errors import ConversionError
from edgekit.manifest import Binding, OutputRole, Signature, TensorInput, TensorOutput
from edgekit.table import Array, Table
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.frameworks import finishing, onnx_sparse, onnx_whole
from edgekit_converters.frameworks.ports import Port, bind_inputs
from edgekit_converters.intake import inputs, samples
from edgekit_converters.intake.inputs import TEXT, Field, Inputs
from edgekit_converters.intake.labels import as_answers
from edgekit_converters.job import Job
from edgekit_converters.needs.functions import check_functions
from edgekit_converters.needs.operators import shown, strange, unregistered
from edgekit_converters.passes.chatter import drop_unused_opsets
from edgekit_converters.passes.walk import graphs, nodes
from edgekit_converters.runtimes import Supported
from edgekit_converters.versions import installed

_CLASS_LABELS = {
    "classlabels_ints",
    "classlabels_int64s",
    "classlabels_strings",
}
_MATRIX = 2
_IR_OF_CONSTANTS = 4  # before it every initialiser was an input


def convert(job: Job) -> Extraction:
    """Read the model, check it, and ask it about the samples.

    ConversionError for what is not ONNX, reaches out of its folder or is too new.
    """
    source = job.source
    name = source.path.name
    graph = _load(source.path)
    _check_versions(name, graph, job.supported)
    onnx_whole.check(name, graph)
    graph, own_ir = _plain(name, graph), graph.ir_version
    classes = _classes(graph)
    finishing.strip_zipmaps(graph)
    notes = _drop_constant_inputs(name, graph)
    signed = inputs.from_signature(source.signature)
    ports = tuple(_port(value) for value in graph.graph.input)
    takes = signed or _derived(ports)
    tensors = bind_inputs(takes, ports, subject=name)
    given = samples.read(job.samples, source.example, takes, job.target)
    finishing.tidy(graph)
    notes += _settle_ir(name, graph, own_ir, job.supported)
    answers = _answers(name, graph, tensors, given.table)
    outputs, named = _outputs(graph, answers, lone=not source.configuration)
    by_role = {output.role: output for output in outputs}
    beside = by_role.get(OutputRole.PROBABILITY)
    prediction = _prediction(outputs, answers)
    return Extraction(
        model=finishing.encode(graph),
        binding=Binding(
            inputs=tensors,
            outputs=outputs,
            classes=classes if beside and len(classes) == beside.shape[1] else (),
        ),
        signature=source.signature if signed else Signature(inputs=takes.schema()),
        signature_derived=signed is None,
        samples=given.table,
        labels=as_answers(given.labels, answers[outputs[0].tensor]),
        original=Predictions(
            prediction=prediction if named else prediction[""],
            probabilities=answers[beside.tensor] if beside else None,
        ),
        task=Task.CLASSIFICATION if beside else Task.OTHER,
        framework="onnx",
        predict="run",
        source_bytes=source.source_bytes,
        tools=installed("onnx"),
        notes=notes,
    )


def _answers(
    name: str, graph: ModelProto, tensors: Sequence[TensorInput], table: Table
) -> dict[str, Array]:
    """Run the graph; where it does not run, name the operator that the runtime lacks."""
    try:
        return finishing.run(graph, tensors, table)
    except ConversionError as error:
        said = " ".join(str(error.__cause__ or error).split())
        for one in (*strange(graph), *unregistered(graph)):
            raise ConversionError(
                f"{name}: it uses {shown(one.domain)}.{one.name}, which onnxruntime"
                f" {runtime.version()} does not have; export it with ONNX's own operators"
                " of another opset, or put its function into the model"
            ) from error
        raise ConversionError(f"{name}: it does not run: {said}") from error


def _load(path: Path) -> ModelProto:
    """Read a model and draw its external data in."""
    try:
        model = decode(path.read_bytes())
    except OSError as error:
        raise ConversionError(f"{path.name}: cannot be read: {error.strerror}") from error
    if not model.graph.output:
        raise ConversionError(f"{path.name}: not an ONNX model: it has no outputs")
    outside = [t for t in _tensors(model) if external_data_helper.uses_external_data(t)]
    for tensor in outside:
        _check_external(tensor, path)
    try:
        for tensor in outside:
            external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
    except (OSError, ValueError, ValidationError) as error:
        raise ConversionError(f"{path.name}: its external data: {error}") from error
    return model


def _plain(name: str, model: ModelProto) -> ModelProto:
    """Return the model with its functions inlined and its sparse tensors dense."""
    model.ClearField("training_info")
    for graph in graphs(model.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(onnx_sparse.dense(name, sparse))
        graph.ClearField("sparse_initializer")
    if not model.functions:
        return model
    check_functions(model, name)
    inlined: ModelProto = inliner.inline_local_functions(model)
    return drop_unused_opsets(inlined)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for graph in graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for function in model.functions:
        for node in function.node:
            yield from (attribute.t for attribute in node.attribute)
    for node in nodes(model.graph):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _check_external(tensor: TensorProto, path: Path) -> None:
    about = {entry.key: entry.value for entry in tensor.external_data}
    location = about.get("location", "")
    folder = path.parent.resolve()
    file = folder.joinpath(location).resolve()
    if not file.is_relative_to(folder) or file == folder:
        raise ConversionError(
            f"{path.name}: tensor {tensor.name} wants data from {location}, outside the"
            " model's folder"
        )
    if not file.is_file():
        raise ConversionError(
            f"{path.name}: its data file {location} is missing; copy it beside the model"
        )
    try:
        start, length = int(about.get("offset", 0)), int(about.get("length", 0))
    except ValueError as error:
        raise ConversionError(f"{path.name}: tensor {tensor.name}: {error}") from error
    if start < 0 or length < 0:
        raise ConversionError(
            f"{path.name}: tensor {tensor.name} wants {length} bytes from byte {start} on;"
            " whole numbers are expected"
        )
    end = start + length
    if end > file.stat().st_size:
        raise ConversionError(
            f"{path.name}: tensor {tensor.name} ends at byte {end} of {location}, which has"
            f" {file.stat().st_size}"
        )


def _check_versions(name: str, model: ModelProto, supported: Supported) -> None:
    limits = {"": supported.opset, "ai.onnx": supported.opset}
    limits["ai.onnx.ml"] = supported.ml_opset
    for opset in model.opset_import:
        most = limits.get(opset.domain)
        if most is not None and opset.version > most:
            raise ConversionError(
                f"{name}: opset {opset.version} of {opset.domain or 'ai.onnx'}, the oldest"
                f" onnxruntime of the boards runs up to {most}; export it with that opset"
            )


def _drop_constant_inputs(name: str, model: ModelProto) -> tuple[str, ...]:
    """Let initialisers be constants only: old exporters list them as inputs too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    listed = [value for value in model.graph.input if value.name in constants]
    for value in listed:
        model.graph.input.remove(value)
    if not listed:
        return ()
    return (f"{name}: {len(listed)} weights were listed as inputs too, now they are not",)


def _settle_ir(
    name: str, model: ModelProto, own: int, supported: Supported
) -> tuple[str, ...]:
    """Keep the model's IR version where the boards run it; else take the oldest that does.

    An IR version says how the file is written, not what the model does. `model` has the
    oldest one for its opset; constants that are no inputs need IR 4.
    """
    least = max(model.ir_version, _IR_OF_CONSTANTS)
    model.ir_version = own if least <= own <= supported.ir_version else least
    if model.ir_version == own:
        return ()
    return (f"{name}: written as IR version {least} instead of {own}, for the boards",)


def _port(value: ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    dtype = TEXT
    if tensor.elem_type != TensorProto.STRING:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return Port(
        name=value.name, dtype=dtype, shape=finishing.shape(value), tensor=value.name
    )


def _derived(ports: tuple[Port, ...]) -> Inputs:
    lone = len(ports) == 1
    fields = tuple(
        Field(name="" if lone else p.name, dtype=p.dtype, shape=p.shape) for p in ports
    )
    return Inputs(fields=fields, tensors=True)


def _classes(model: ModelProto) -> tuple[str, ...]:
    """Return the labels of the last classifier in the graph."""
    for node in reversed(model.graph.node):
        for attribute in node.attribute:
            if attribute.name in _CLASS_LABELS:
                texts = [text.decode() for text in attribute.strings]
                return tuple(texts or (str(number) for number in attribute.ints))
    return ()


def _outputs(
    model: ModelProto, answers: dict[str, Array], *, lone: bool
) -> tuple[tuple[TensorOutput, ...], bool]:
    """Bind the outputs, and tell whether the caller gets them by name.

    A label with probabilities beside it becomes what a classifier answers. Otherwise
    MLflow returns ONNX's outputs by name; a bare file's only output comes as it is.
    """
    values = {output.name: output for output in model.graph.output}
    names = list(values)
    for name in names:
        if name not in answers:
            raise ConversionError(
                f"model: output {name} is a sequence or a map; export it with plain tensors"
            )
    finishing.declare_shapes(model, answers)
    if _is_classifier(names, answers):
        label, beside = names
        return (
            _output("", values[label], OutputRole.PREDICTION, answers[label]),
            _output(
                "probabilities", values[beside], OutputRole.PROBABILITY, answers[beside]
            ),
        ), False
    named = not lone or len(names) > 1
    return tuple(
        _output(name if named else "", values[name], OutputRole.PREDICTION, answers[name])
        for name in names
    ), named


def _is_classifier(names: list[str], answers: dict[str, Array]) -> bool:
    if len(names) != _MATRIX:
        return False
    label, beside = (answers[name] for name in names)
    return (
        label.dtype.kind in "iO"
        and label.size == len(label)
        and beside.dtype.kind == "f"
        and beside.ndim == _MATRIX
        and bool(np.all((beside >= 0) & (beside <= 1)))
    )


def _output(
    name: str, value: ValueInfoProto, role: OutputRole, answer: Array
) -> TensorOutput:
    return TensorOutput(
        name=name,
        tensor=value.name,
        role=role,
        dtype=TEXT if answer.dtype == object else answer.dtype.name,
        shape=finishing.shape(value),
    )


def _prediction(
    outputs: tuple[TensorOutput, ...], answers: dict[str, Array]
) -> dict[str, Array]:
    return {
        output.name: answers[output.tensor]
        for output in outputs
        if output.role is OutputRole.PREDICTION
    }
