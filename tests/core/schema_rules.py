"""MLflow's rules of enforcement as rows: a case, and the verdict that it must get.

The verdicts were measured on MLflow 3.17.2; tests/contract asks the installed MLflow for
them again. `sentence` ends where MLflow quotes another library's words.
"""

import numpy as np

from tests.core.rule import Rule
from tests.core.signatures import (
    A_B,
    A_OPTIONAL_B,
    DOUBLES,
    PERSON,
    SHARES,
    UNNAMED,
    column,
    nested,
    objects,
    tensor,
)

HINT = (
    " Hint: the type mismatch is likely caused by missing values. Integer columns in python"
    " can not represent missing values and are therefore encoded as floats. The best way to"
    " avoid this problem is to infer the model schema based on a realistic data sample"
    " (training dataset) that includes missing values. Alternatively, you can declare"
    " integer columns as doubles (float64) whenever these columns may have missing values."
    " See `Handling Integers With Missing Values <https://www.mlflow.org/docs/latest/"
    "models.html#handling-integers-with-missing-values>`_ for more details."
)
ONE = np.array([1.0])

TABLE_RULES = (
    Rule(
        name="missing required column",
        inputs=A_B,
        table={"a": ONE},
        sentence="Model is missing inputs ['b'].",
    ),
    Rule(
        name="missing required column beside an extra one",
        inputs=A_B,
        table={"a": ONE, "x": ONE},
        sentence="Model is missing inputs ['b']. Note that there were extra inputs: ['x'].",
    ),
    Rule(
        name="missing optional column is absent from the result",
        inputs=A_OPTIONAL_B,
        table={"a": ONE},
        dtypes={"a": "float64"},
    ),
    Rule(
        name="extra column is dropped",
        inputs=A_B,
        table={"a": ONE, "x": ONE, "b": ONE},
        dtypes={"a": "float64", "b": "float64"},
    ),
    Rule(
        name="columns are put in the signature's order",
        inputs=A_B,
        table={"b": np.array([2.0]), "a": np.array([1.0])},
        values={"a": [1.0], "b": [2.0]},
    ),
    Rule(
        name="column names differ in case",
        inputs=A_B,
        table={"A": ONE, "b": ONE},
        sentence="Model is missing inputs ['a']. Note that there were extra inputs: ['A'].",
    ),
    Rule(
        name="too few unnamed columns",
        inputs=UNNAMED,
        table={"p": ONE, "q": ONE},
        sentence="Model inference is missing inputs. The model signature declares 3 inputs "
        " but the provided value only has 2 inputs. Note: the inputs were not named in the"
        " signature so we can only verify their count.",
    ),
    Rule(
        name="surplus unnamed columns are trimmed",
        inputs=UNNAMED,
        table=dict.fromkeys("pqrs", ONE),
        dtypes={"0": "float64", "1": "float64", "2": "float64"},
    ),
    Rule(
        name="bare array for a named column",
        inputs=[column("double")],
        table={"": ONE},
        sentence="Model is missing inputs ['a']. Note that there were extra inputs: [0].",
    ),
    Rule(
        name="columns of different lengths",
        inputs=A_B,
        table={"a": ONE, "b": np.zeros(2)},
        sentence="This model contains a column-based signature, which suggests a DataFrame"
        " input. There was an error casting the input data to a DataFrame: ",
    ),
    Rule(
        name="NaN where long is due",
        inputs=[column("long")],
        table={"a": np.array([1.0, np.nan])},
        sentence="Incompatible input types for column a."
        f" Can not safely convert float64 to int64.{HINT}",
    ),
    Rule(
        name="None where long is due, though optional",
        inputs=[column("long", required=False)],
        table={"a": objects(1, None)},
        sentence="Incompatible input types for column a."
        f" Can not safely convert float64 to int64.{HINT}",
    ),
    Rule(
        name="whole float where long is due",
        inputs=[column("long")],
        table={"a": np.array([2.0])},
        sentence="Incompatible input types for column a."
        " Can not safely convert float64 to int64.",
    ),
    Rule(
        name="None in a required double becomes NaN",
        inputs=[column("double")],
        table={"a": objects(1.5, None)},
        dtypes={"a": "float64"},
    ),
    Rule(
        name="zeros and ones of int64 where double is due",
        inputs=[column("double")],
        table={"a": np.array([0, 1])},
        values={"a": [0.0, 1.0]},
    ),
    Rule(
        name="int64 where double is due",
        inputs=[column("double")],
        table={"a": np.array([0, 2])},
        sentence="Incompatible input types for column a."
        " Can not safely convert int64 to float64.",
    ),
    Rule(
        name="text where double is due",
        inputs=[column("double")],
        table={"a": np.array(["1.5"])},
        sentence="Incompatible input types for column a."
        " Can not safely convert str to float64.",
    ),
    Rule(
        name="numbers where string is due",
        inputs=[column("string")],
        table={"a": np.array([1])},
        sentence="Incompatible input types for column a."
        " Can not safely convert int64 to <U0.",
    ),
    Rule(
        name="numbers where binary is due",
        inputs=[column("binary")],
        table={"a": np.array([1])},
        sentence="Incompatible input types for column a."
        " Can not safely convert int64 to |S0.",
    ),
    Rule(
        name="instants of any unit become nanoseconds",
        inputs=[column("datetime")],
        table={"a": np.array(["2020-01-01"], "datetime64[D]")},
        dtypes={"a": "datetime64[ns]"},
    ),
    Rule(
        name="ISO text where datetime is due",
        inputs=[column("datetime")],
        table={"a": np.array(["2020-01-01"])},
        sentence="Incompatible input types for column a."
        " Can not safely convert str to datetime64[ns].",
    ),
    Rule(
        name="tensor of a narrower dtype",
        inputs=[tensor("float64", [-1, 2])],
        table={"": np.zeros((1, 2), np.float32)},
        sentence="dtype of input float32 does not match expected dtype float64",
    ),
    Rule(
        name="tensor of another shape",
        inputs=[tensor("float32", [-1, 4])],
        table={"": np.zeros((2, 5), np.float32)},
        sentence="Shape of input (2, 5) does not match expected shape (-1, 4).",
    ),
    Rule(
        name="tensor of another rank",
        inputs=[tensor("float32", [-1, 4])],
        table={"": np.zeros(4, np.float32)},
        sentence="Shape of input (4,) does not match expected shape (-1, 4).",
    ),
    Rule(
        name="tensor with an empty batch",
        inputs=[tensor("float32", [-1, 4])],
        table={"": np.zeros((0, 4), np.float32)},
        dtypes={"": "float32"},
    ),
    Rule(
        name="object tensor takes anything",
        inputs=[tensor("object", [-1])],
        table={"": np.zeros((2, 5), np.float32)},
        dtypes={"": "float32"},
    ),
    Rule(
        name="bare array for the only named tensor",
        inputs=[tensor("float32", [-1], "x")],
        table={"": np.zeros(2, np.float32)},
        dtypes={"x": "float32"},
    ),
    Rule(
        name="bare array for several named tensors",
        inputs=[tensor("float32", [-1], "x"), tensor("float32", [-1], "y")],
        table={"": np.zeros(2, np.float32)},
        sentence="Model is missing inputs ['x', 'y'].",
    ),
    Rule(
        name="lists of one type",
        inputs=[DOUBLES],
        table={"a": objects([1.5, 2.0], [])},
        values={"a": [[1.5, 2.0], []]},
    ),
    Rule(
        name="rows of an array are lists",
        inputs=[DOUBLES],
        table={"a": np.array([[0.5, 1.5], [2.5, 3.5]])},
        dtypes={"a": "object"},
    ),
    Rule(
        name="whole numbers in a list of doubles",
        inputs=[DOUBLES],
        table={"a": objects([1, 2])},
        sentence="Incompatible input types for column . Can not safely convert int64 to"
        " float64.",
    ),
    Rule(
        name="None where a list is due",
        inputs=[DOUBLES],
        table={"a": objects(None)},
        sentence="Expected data to be list or numpy array, got NoneType",
    ),
    Rule(
        name="None where a list is optional, as in signatures that do not say",
        inputs=[{"type": "array", "items": {"type": "double"}, "name": "a"}],
        table={"a": objects(None, [1.5])},
        values={"a": [None, [1.5]]},
    ),
    Rule(
        name="an object with a property too many",
        inputs=[PERSON],
        table={"a": objects({"age": 1, "extra": 2})},
        sentence="Invalid properties not defined in the schema found: {'extra'}",
    ),
    Rule(
        name="an object with a property missing",
        inputs=[PERSON],
        table={"a": objects({"nick": "x"})},
        sentence="Missing required properties: {'age'}",
    ),
    Rule(
        name="an object with a property of another type",
        inputs=[PERSON],
        table={"a": objects({"age": "x"})},
        sentence="Failed to enforce schema for key `age`. Expected type long, received"
        " type str",
    ),
    Rule(
        name="a map of numbers, some of them text",
        inputs=[SHARES],
        table={"a": objects({"p": 0.5, "q": "x"})},
        sentence="Failed to enforce schema of data `x` with dtype `double`",
    ),
    Rule(
        name="a list where a map is due",
        inputs=[SHARES],
        table={"a": objects([1.5])},
        sentence="Expected data to be a dict, got list",
    ),
    Rule(
        name="any takes anything",
        inputs=[nested("any")],
        table={"a": objects({"p": [1]}, None, "x")},
        values={"a": [{"p": [1]}, None, "x"]},
    ),
    Rule(
        name="named tensors of different batches, one too many",
        inputs=[tensor("float32", [-1], "x"), tensor("int64", [-1], "y")],
        table={
            "z": np.zeros(1),
            "y": np.zeros(3, np.int64),
            "x": np.zeros(2, np.float32),
        },
        dtypes={"x": "float32", "y": "int64"},
    ),
)

# MLflow's column cast matrix: what each numpy dtype may enter, for values other than 0, 1.
ADMITS = {
    "bool": {"boolean"},
    "int8": {"integer", "long", "double"},
    "int16": {"integer", "long", "double"},
    "int32": {"integer", "long", "double"},
    "int64": {"long"},
    "uint8": {"integer", "long", "double"},
    "uint16": {"integer", "long", "double"},
    "uint32": {"long", "double"},
    "uint64": set(),
    "float16": {"float", "double"},
    "float32": {"float", "double"},
    "float64": {"double"},
}
TARGETS = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "<U0",
    "binary": "|S0",
    "datetime": "datetime64[ns]",
}
