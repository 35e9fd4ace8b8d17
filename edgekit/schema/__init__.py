"""MLflow's model signature, enforced on a device without MLflow and without pandas.

`Schema` compiles a signature once. `enforce` gives the verdict and the sentences of
MLflow's python_function on arrays, `parse` those of its scoring server on JSON. What
differs is on purpose and only refuses more: column types that hold lists or objects (when
the schema is compiled); dates other than ISO 8601; object arrays that mix text, lists or
numbers where numbers or instants are due; data frames written in ways that only pandas'
constructor knows. The data of a request are not quoted around a sentence.
"""

from edgekit.schema.answer import encode_predictions, encode_refusal
from edgekit.schema.policy import Enforcement, Limits
from edgekit.schema.schema import Payload, Schema, Table

__all__ = [
    "Enforcement",
    "Limits",
    "Payload",
    "Schema",
    "Table",
    "encode_predictions",
    "encode_refusal",
]
