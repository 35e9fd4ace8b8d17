"""What MLflow answers a request's body, as rows; see schema_rules.py."""

from tests.core.rule import Rule
from tests.core.signatures import (
    A_B,
    DOUBLES,
    PERSON,
    TEXTS,
    column,
    records,
    tensor,
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
