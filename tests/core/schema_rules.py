"""MLflow's rules of enforcement as rows: a case, and the verdict that it must get.

The verdicts were measured on MLflow 3.17.2; tests/contract asks the installed MLflow for
them again. `sentence` ends where MLflow quotes another library's words.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.schema import Table

Entries = list[dict[str, object]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A table or a request body for a signature; accepted unless there is a sentence."""

    name: str
    inputs: Entries
    table: Table | None = None
    body: dict[str, object] | None = None
    sentence: str | None = None
    dtypes: dict[str, str] | None = None
    values: dict[str, list[object]] | None = None


def column(
    kind: str, name: str | None = "a", *, required: bool = True
) -> dict[str, object]:
    entry: dict[str, object] = {"type": kind, "required": required}
    return entry if name is None else {**entry, "name": name}


def tensor(dtype: str, shape: list[int], name: str | None = None) -> dict[str, object]:
    spec = {"dtype": dtype, "shape": shape}
    entry: dict[str, object] = {"type": "tensor", "tensor-spec": spec}
    return entry if name is None else {**entry, "name": name}


def records(*values: object, name: str = "a") -> dict[str, object]:
    return {"dataframe_records": [{name: value} for value in values]}


def objects(*values: object) -> np.ndarray[Any, Any]:
    return np.fromiter(values, dtype=object, count=len(values))


def nested(kind: str, name: str = "a", **rest: object) -> dict[str, object]:
    return {"type": kind, "name": name, "required": True, **rest}


DOUBLES = nested("array", items={"type": "double"})
TEXTS = nested("array", items={"type": "string"})
PERSON = nested(
    "object",
    properties={
        "age": {"type": "long", "required": True},
        "nick": {"type": "string", "required": False},
    },
)
SHARES = nested("map", values={"type": "double"})
A_B = [column("double", "a"), column("double", "b")]
A_OPTIONAL_B = [column("double", "a"), column("double", "b", required=False)]
UNNAMED = [column("double", None)] * 3
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

REQUEST_RULES = (
    Rule(
        name="missing column beside an extra one in a request",
        inputs=A_B,
        body={"dataframe_split": {"columns": ["a", "x"], "data": [[1.5, 2]]}},
        sentence="Model is missing inputs ['b']. Note that there were extra inputs: ['x'].",
    ),
    Rule(
        name="a bare list is the single named column",
        inputs=[column("double")],
        body={"inputs": [1, 2]},
        values={"a": [1.0, 2.0]},
    ),
    Rule(
        name="3.9 becomes the long 3",
        inputs=[column("long")],
        body=records(3.9),
        values={"a": [3]},
    ),
    Rule(
        name="2**31 wraps in an integer",
        inputs=[column("integer")],
        body=records(2**31),
        values={"a": [-(2**31)]},
    ),
    Rule(
        name="text that spells a number",
        inputs=[column("double")],
        body=records("1.5"),
        values={"a": [1.5]},
    ),
    Rule(
        name="text that spells none",
        inputs=[column("double")],
        body=records("abc"),
        sentence="Invalid input. Data is not compatible with model signature. Failed to"
        " convert column a to type 'float64'.",
    ),
    Rule(
        name="the text false becomes True",
        inputs=[column("boolean")],
        body=records("false"),
        values={"a": [True]},
    ),
    Rule(
        name="null becomes False",
        inputs=[column("boolean")],
        body=records(*[True, None]),
        values={"a": [True, False]},
    ),
    Rule(
        name="null becomes NaN in a double",
        inputs=[column("double")],
        body=records(None),
        values={"a": [float("nan")]},
    ),
    Rule(
        name="null in a long of data frame rows",
        inputs=[column("long")],
        body=records(1, None),
        sentence="Invalid input. Data is not compatible with model signature. Failed to"
        " convert column a to type 'int64'.",
    ),
    Rule(
        name="null in a long of inputs",
        inputs=[column("long")],
        body={"inputs": {"a": [None]}},
        sentence="Invalid input. int() argument must be a string, a bytes-like object or a"
        " real number, not 'NoneType'",
    ),
    Rule(
        name="a number stays a number in a string column",
        inputs=[column("string")],
        body=records(5),
        values={"a": [5]},
    ),
    Rule(
        name="binary is base64 in data frame rows",
        inputs=[column("binary")],
        body=records("aGk="),
        values={"a": [b"hi"]},
    ),
    Rule(
        name="binary is plain text in inputs",
        inputs=[column("binary")],
        body={"inputs": {"a": ["aGk="]}},
        values={"a": [b"aGk="]},
    ),
    Rule(
        name="an instant in ISO 8601",
        inputs=[column("datetime")],
        body=records("2020-01-01T00:00:00.5", None),
        values={"a": [1577836800_500000000, None]},
    ),
    Rule(
        name="an instant as nanoseconds since 1970",
        inputs=[column("datetime")],
        body=records(5),
        values={"a": [5]},
    ),
    Rule(
        name="an instant with a zone",
        inputs=[column("datetime")],
        body=records("2020-01-01T00:00:00Z"),
        sentence="Please ensure that the input data of datetime column only contains"
        " timezone-naive datetime objects. Error: Cannot use .astype to convert from"
        " timezone-aware dtype to timezone-naive dtype. Use obj.tz_localize(None) or"
        " obj.tz_convert('UTC').tz_localize(None) instead.",
    ),
    Rule(
        name="a list, a row",
        inputs=[DOUBLES],
        body=records([1.5, 2.5]),
        values={"a": [[1.5, 2.5]]},
    ),
    Rule(
        name="null in a list of doubles is NaN",
        inputs=[DOUBLES],
        body=records([1.5, None]),
        values={"a": [[1.5, float("nan")]]},
    ),
    Rule(
        name="text in a list of doubles",
        inputs=[DOUBLES],
        body=records(["1.5"]),
        sentence="Invalid input. Data is not compatible with model signature. Failed to"
        " convert column a to type 'Array(double)'.",
    ),
    Rule(
        name="a number in a list of text is written out",
        inputs=[TEXTS],
        body=records([1, "b"]),
        values={"a": [["1", "b"]]},
    ),
    Rule(
        name="an object, a row",
        inputs=[PERSON],
        body=records({"age": 7}),
        values={"a": [{"age": 7}]},
    ),
    Rule(
        name="inputs of a column of lists are one row",
        inputs=[DOUBLES],
        body={"inputs": {"a": [1.5, 2.5, 3.5]}},
        values={"a": [[1.5, 2.5, 3.5]]},
    ),
    Rule(
        name="instances of different lengths",
        inputs=A_B,
        body={"instances": [{"a": 1, "b": 2}, {"a": 1}]},
        sentence="Invalid input. The length of values for each input/column name are not"
        " the same",
    ),
    Rule(
        name="1.7 becomes the tensor element 1",
        inputs=[tensor("int64", [-1])],
        body={"inputs": [1.7]},
        values={"": [1]},
    ),
    Rule(
        name="300 does not fit uint8",
        inputs=[tensor("uint8", [-1])],
        body={"inputs": [300]},
        sentence="Invalid input. Python integer 300 out of bounds for uint8",
    ),
    Rule(
        name="a ragged tensor",
        inputs=[tensor("float32", [-1, 2])],
        body={"inputs": [[1, 2], [3]]},
        sentence="Invalid input. setting an array element with a sequence. The requested"
        " array has an inhomogeneous shape after 1 dimensions. The detected shape was (2,)"
        " + inhomogeneous part.",
    ),
    Rule(
        name="names for an unnamed tensor",
        inputs=[tensor("float32", [-1])],
        body={"inputs": {"x": [1]}},
        sentence="Invalid input. Failed to parse input data. This model contains an"
        " un-named  model signature which expects a single n-dimensional array or a single"
        " value as input, however, an input of type <class 'dict'> was found.",
    ),
    Rule(
        name="data frame columns fill a tensor",
        inputs=[tensor("float32", [-1, 2])],
        body={"dataframe_split": {"columns": ["p", "q"], "data": [[1, 2]]}},
        values={"": [[1.0, 2.0]]},
    ),
    Rule(
        name="list cells fill a tensor",
        inputs=[tensor("float32", [-1, 2, 1], "x")],
        body={"dataframe_records": [{"x": [1, 2]}]},
        values={"x": [[[1.0], [2.0]]]},
    ),
    Rule(
        name="too many data frame columns for a tensor",
        inputs=[tensor("float32", [-1, 3])],
        body={"dataframe_split": {"columns": ["p", "q"], "data": [[1, 2]]}},
        sentence="This model contains a model signature with an unnamed input. Since the"
        " input data is a pandas DataFrame containing multiple columns, the input shape"
        " must be of the structure (-1, number_of_dataframe_columns). Instead, the input"
        " DataFrame passed had 2 columns and an input shape of (-1, 3) with all values"
        " within the DataFrame of scalar type. Please adjust the passed in DataFrame to"
        " match the expected structure",
    ),
    Rule(
        name="records that are no list",
        inputs=A_B,
        body={"dataframe_records": {"a": 1}},
        sentence="Invalid input. Dataframe records format must be a list of records. Got"
        " dictionary.",
    ),
    Rule(
        name="split without data",
        inputs=A_B,
        body={"dataframe_split": {"columns": ["a"]}},
        sentence="Invalid input. Dataframe split format must have 'data' field and"
        " optionally 'columns' and 'index' fields. Got {'columns'}.'",
    ),
    Rule(
        name="more columns named than given",
        inputs=A_B,
        body={"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}},
        sentence="Invalid input. Provided dataframe_split field is not a valid dataframe"
        " representation in 'split' format.",
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
