"""A network that answers in its own framework, and its graph: asked, bound and compared.

What Keras, SavedModel, PyTorch and TFLite have in common. Knows ONNX, no framework.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, defs

from edgekit.binding import Predictions, feeds
from edgekit.errors import ConversionError
from edgekit.manifest import Binding, OutputRole, Signature, TensorInput, TensorOutput
from edgekit.table import Array, Table, rows, take
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.frameworks import finishing
from edgekit_converters.frameworks.ports import Port, bind_inputs
from edgekit_converters.intake import inputs, samples
from edgekit_converters.intake.inputs import TEXT, Field, Inputs
from edgekit_converters.intake.labels import as_answers
from edgekit_converters.job import Job
from edgekit_converters.passes.walk import nodes
from edgekit_converters.versions import installed

_BATCH_ROWS = 256
# Operators between a network's last decision and its output.
_WRAPPING = {"Identity", "Cast", "DequantizeLinear", "QuantizeLinear", "Reshape", "Squeeze"}
# A row alone may differ from the row among others by the order of float32 sums, no more.
_ALONE = 10.0
_ALONE_FLOOR = 1e-3
_UNFAITHFUL = 0.02  # of the largest value, on average: int8 rounds to less
_ONNX_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A network as ONNX, and what a person should know of how it came about."""

    model: ModelProto
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network out of its file: one array a port in, one a name out.

    `ask` answers [rows, ...] arrays by the caller's names, as the framework itself does; a
    lone "" stands for a plain array. `export` makes an ONNX graph of at most the given
    opset, inputs named as the ports' tensors (":0" may follow), outputs in the order of the
    answers; it may try the arrays it is given. Both raise ConversionError. `restore` brings
    an answer into the shape that python_function returns. `takes` is what goes in where no
    signature says so; without it, the ports as tensors.
    """

    name: str
    ports: tuple[Port, ...]
    framework: str
    ask: Callable[[Sequence[Array]], dict[str, Array]]
    export: Callable[[int, Sequence[Array]], Exported]
    restore: Callable[[Array], Array] = lambda answer: answer
    takes: Inputs | None = None
    tools: tuple[str, ...] = ()


def extract(job: Job, network: Network) -> Extraction:
    """Ask the original about the samples and convert it, or raise ConversionError."""
    source = job.source
    signed = inputs.from_signature(source.signature)
    takes = signed or network.takes or derived(network.ports)
    tensors = bind_inputs(takes, network.ports, subject=network.name)
    given = samples.read(job.samples, source.example, takes, job.target)
    answers = _ask(network, tensors, given.table)
    example = _arrays(tensors, _some(given.table, 0, _BATCH_ROWS))
    _check_steady(network, example)
    exported = network.export(job.supported.opset, example)
    _check_operators(network.name, exported.model)
    graph, outputs = _bind(exported.model, tensors, given.table, answers)
    _check_faithful(network, graph, tensors, given.table, answers)
    finishing.tidy(graph)
    first = next(iter(answers.values()))
    return Extraction(
        model=finishing.encode(graph),
        binding=Binding(inputs=tensors, outputs=outputs),
        signature=source.signature if signed else Signature(inputs=takes.schema()),
        signature_derived=signed is None,
        samples=given.table,
        labels=as_answers(given.labels, first),
        original=Predictions(prediction=first if list(answers) == [""] else answers),
        task=_task(graph, answers),
        framework=network.framework,
        predict=source.predict_fn,
        source_bytes=source.source_bytes,
        tools=installed(*network.tools, "onnx"),
        notes=exported.notes,
    )


def derived(ports: Sequence[Port]) -> Inputs:
    """Return what a network without a signature takes: its ports, as tensors."""
    lone = len(ports) == 1
    fields = tuple(
        Field(name="" if lone else p.name, dtype=p.dtype, shape=p.shape) for p in ports
    )
    return Inputs(fields=fields, tensors=True)


def short(error: Exception, most: int = 300) -> str:
    """Return a foreign error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:most]}"


def _some(table: Table, start: int, most: int) -> dict[str, Array]:
    return take(table, list(range(start, min(start + most, rows(table)))))


def _arrays(tensors: Sequence[TensorInput], table: Table) -> list[Array]:
    fed = feeds(Binding(inputs=tuple(tensors), outputs=()), table)
    return [fed[tensor.name] for tensor in tensors]


def _ask(
    network: Network, tensors: Sequence[TensorInput], table: Table
) -> dict[str, Array]:
    """Return the original's answers, [rows, ...] each, a batch at a time."""
    batches: list[dict[str, Array]] = []
    for start in range(0, rows(table), _BATCH_ROWS):
        given = _some(table, start, _BATCH_ROWS)
        answers = network.ask(_arrays(tensors, given))
        _check_rows(network.name, answers, rows(given))
        batches.append(answers)
    return {
        name: network.restore(np.concatenate([batch[name] for batch in batches]))
        for name in batches[0]
    }


def _check_rows(subject: str, answers: Mapping[str, Array], number: int) -> None:
    for name, answer in answers.items():
        if answer.shape[:1] != (number,):
            raise ConversionError(
                f"{subject}: {name or 'the output'} has shape {answer.shape} for {number}"
                " rows; one answer a row is expected, its first dimension the rows'. Wrap"
                " the model so that it returns only such outputs"
            )


def _check_operators(name: str, model: ModelProto) -> None:
    known = {schema.name for schema in defs.get_all_schemas_with_history()}
    own = {(function.domain, function.name) for function in model.functions}
    unknown = sorted(
        {
            f"{node.domain}.{node.op_type}".removeprefix(".")
            for node in nodes(model.graph)
            if (node.domain, node.op_type) not in own
            and (node.op_type not in known or node.domain not in _ONNX_DOMAINS)
        }
    )
    if unknown:
        raise ConversionError(
            f"{name}: ONNX has no operators for {', '.join(unknown)}; replace the layers"
            " that use them, or move them out of the model"
        )


def _bind(
    graph: ModelProto,
    tensors: tuple[TensorInput, ...],
    table: Table,
    answers: Mapping[str, Array],
) -> tuple[ModelProto, tuple[TensorOutput, ...]]:
    names = [output.name for output in graph.graph.output]
    lone = list(answers) == [""]
    wanted = ["prediction" if lone else f"output{n}" for n in range(len(names))]
    kept = finishing.keep_outputs(graph, dict(zip(names, wanted, strict=True)))
    finishing.declare_inputs(kept, tensors)
    raw = finishing.run(kept, tensors, finishing.head(table))
    finishing.declare_shapes(kept, raw)
    outputs = tuple(
        TensorOutput(
            name=name,
            tensor=output.name,
            role=OutputRole.PREDICTION,
            dtype=TEXT if answer.dtype == object else answer.dtype.name,
            shape=_shape(answer, finishing.shape(output)),
        )
        for (name, answer), output in zip(answers.items(), kept.graph.output, strict=True)
    )
    return kept, outputs


def _shape(answer: Array, declared: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that the caller gets: open where the graph leaves it open."""
    return declared if len(declared) == answer.ndim else (-1, *answer.shape[1:])


def _check_steady(network: Network, arrays: Sequence[Array]) -> None:
    """Refuse an original that answers anew each time it is asked."""
    first, second = (list(network.ask(arrays).values()) for _ in range(2))
    if _apart(first, second) > 0:
        raise ConversionError(
            f"{network.name}: the original itself answers the same row in two ways; turn"
            " off what is random in it (model.eval() before it is saved) and what remembers"
            " earlier rows (stateful layers)"
        )


def _check_faithful(
    network: Network,
    graph: ModelProto,
    tensors: tuple[TensorInput, ...],
    table: Table,
    answers: Mapping[str, Array],
) -> None:
    """Refuse a graph that answers otherwise, or counts its rows."""
    head = finishing.head(table) if rows(table) > 1 else take(table, [0, 0])
    among = list(finishing.run(graph, tensors, head).values())
    expected = [
        np.resize(answer[: rows(head)], array.shape)
        for answer, array in zip(answers.values(), among, strict=True)
    ]
    apart = _apart(among, expected, np.mean)
    if apart > _UNFAITHFUL:
        raise ConversionError(
            f"{network.name}: converted, it answers otherwise than the original, by"
            f" {apart:.0%} of the largest value on average: it has no faithful ONNX form"
            " here. Log an ONNX model with mlflow.onnx"
        )
    one = _some(table, 0, 1)
    asked = list(network.ask(_arrays(tensors, one)).values())
    alone = list(finishing.run(graph, tensors, one).values())
    if _apart(alone, asked) > _ALONE * _apart(among, expected) + _ALONE_FLOOR:
        raise ConversionError(
            f"{network.name}: converted, it answers one row alone otherwise than the"
            " original does; something in its code fixes the number of rows. Use -1 (or"
            " x.shape[0]) wherever it reshapes by a number of rows"
        )


def _apart(
    some: Sequence[Array], others: Sequence[Array], of: Callable[[Array], float] = np.max
) -> float:
    """Return the largest (or mean) difference, as a share of the largest value."""
    pairs = [(a, b) for a, b in zip(some, others, strict=True) if a.size and b.size]
    return max((_difference(a, b, of) for a, b in pairs), default=0.0)


def _difference(one: Array, other: Array, of: Callable[[Array], float]) -> float:
    if one.shape != other.shape:
        return float("inf")
    if one.dtype.kind not in "biuf":
        return float(of(one != other))
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    scale = float(np.max(np.abs(second), initial=0.0, where=np.isfinite(second)))
    with np.errstate(invalid="ignore"):  # infinite from infinite: settled below
        apart = np.abs(first - second)
    apart[(first == second) | (np.isnan(first) & np.isnan(second))] = 0.0
    return float(of(np.nan_to_num(apart, nan=np.inf))) / (scale or 1.0)


def _task(model: ModelProto, answers: Mapping[str, Array]) -> Task:
    """Read the task from the last operator; a sigmoid may end a classifier or a decoder."""
    last = {_last(model, value.name) for value in model.graph.output}
    if last == {"Softmax"}:
        return Task.CLASSIFICATION
    single = len(answers) == 1 and all(a.size == len(a) for a in answers.values())
    return Task.REGRESSION if single and last != {"Sigmoid"} else Task.OTHER


def _last(model: ModelProto, name: str) -> str:
    """Return the operator that makes a value, looking through those that only wrap it."""
    producers = {output: node for node in model.graph.node for output in node.output}
    while name in producers:
        node = producers[name]
        if node.op_type not in _WRAPPING:
            return str(node.op_type)
        name = node.input[0]
    return ""
