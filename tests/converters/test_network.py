"""Whatever framework a network comes from: a graph that is not faithful is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.frameworks.network import Exported, Network, extract
from edgekit_converters.frameworks.ports import Port
from edgekit_converters.intake.kind import Kind
from edgekit_converters.intake.samples import SampleFile
from edgekit_converters.intake.source import Source
from edgekit_converters.job import Job
from edgekit_converters.runtimes import supported
from tests.converters.natives import answers, assert_same, saved_rows

WEIGHTS = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
ROWS = np.random.default_rng(3).normal(size=(300, 4)).astype(np.float32)  # two batches


def original(arrays: Sequence[Array]) -> dict[str, Array]:
    return {"": arrays[0] @ WEIGHTS}


def product(
    weights: Array = WEIGHTS, operator: str = "MatMul", domain: str = ""
) -> ModelProto:
    """x times the weights, named as an exporter names things."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x:0", "w"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x:0", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("x", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def counting(rows: int) -> ModelProto:
    """The same, but only its first so many rows, over and over."""
    model = product()
    model.graph.node[0].output[0] = "all"
    for name, values in (("from", [0]), ("to", [1]), ("times", [rows, 1])):
        tensor = numpy_helper.from_array(np.array(values, dtype=np.int64), name)
        model.graph.initializer.append(tensor)
    model.graph.node.append(helper.make_node("Slice", ["all", "from", "to"], ["one"]))
    model.graph.node.append(helper.make_node("Tile", ["one", "times"], ["y"]))
    return model


def network(model: ModelProto, *notes: str) -> Network:
    return Network(
        name="net",
        ports=(Port(name="rows", dtype="float32", shape=(-1, 4), tensor="x"),),
        framework="none",
        ask=original,
        export=lambda _opset, _rows: Exported(model=model, notes=notes),
    )


def taken(folder: Path, asked: Network, rows: Array = ROWS) -> Extraction:
    path = folder / "net"
    source = Source(kind=Kind.ONNX, path=path, folder=folder, source_bytes=7)
    samples = SampleFile(path=saved_rows(folder, rows))
    job = Job(source=source, supported=supported("1.22"), samples=samples)
    return extract(job, asked)


def test_a_faithful_graph_passes_with_its_notes(tmp_path: Path) -> None:
    found = taken(tmp_path, network(product(), "made by hand"))
    assert_same(answers(found), found.original)
    assert found.notes == ("made by hand",)
    assert found.task is Task.OTHER
    first = decode(found.model).graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_param == "rows"


def test_a_graph_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"answers otherwise than the original, by \d"
    ):
        taken(tmp_path, network(product(WEIGHTS[:, ::-1].copy())))


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]])
def test_a_graph_that_counts_its_rows_is_refused(rows: Array, tmp_path: Path) -> None:
    same = np.repeat(rows[:1], len(rows), axis=0)  # no row tells that it was left out
    with pytest.raises(ConversionError, match=r"one row alone otherwise|otherwise than"):
        taken(tmp_path, network(counting(min(len(rows), 256) + 1)), same)


def test_an_original_that_answers_anew_each_time_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)

    def ask(arrays: Sequence[Array]) -> dict[str, Array]:
        return {"": rng.random((len(arrays[0]), 3), np.float32)}

    with pytest.raises(ConversionError, match="the same row in two ways"):
        taken(tmp_path, replace(network(product()), ask=ask))


@pytest.mark.parametrize("shape", [(), (7,), (3, 300)])
def test_answers_that_are_not_one_a_row_are_refused(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    def ask(_arrays: Sequence[Array]) -> dict[str, Array]:
        return {"odd": np.zeros(shape, dtype=np.float32)}

    with pytest.raises(ConversionError, match=r"odd has shape .* one answer a row"):
        taken(tmp_path, replace(network(product()), ask=ask))


@pytest.mark.parametrize(("operator", "domain"), [("Erfc", ""), ("MatMul", "x")])
def test_an_operator_that_onnx_does_not_have_is_refused(
    operator: str, domain: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match="ONNX has no operators for"):
        taken(tmp_path, network(product(operator=operator, domain=domain)))


def test_not_a_number_where_the_original_has_none_is_no_difference(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[3, 1] = np.nan
    rows[5, 2] = np.inf
    found = taken(tmp_path, network(product()), rows)
    assert_same(answers(found), found.original)
