"""MLflow's model signature, enforced on a device without MLflow and without pandas.

`Schema` compiles a signature once. `enforce` gives the verdict and the sentences of
MLflow's python_function on columns in memory, `parse` those of its scoring server on JSON,
`outputs` says whether an answer keeps what the signature promises. What differs from
MLflow is on purpose and only refuses more: dates other than ISO 8601; object arrays that
mix text, lists or numbers where numbers or instants are due; objects and data frames
written in ways that only pandas' constructor knows.
"""

from edgekit.schema.answer import encode_predictions, encode_refusal
from edgekit.schema.outputs import OutputSchema
from edgekit.schema.policy import Enforcement, Limits
from edgekit.schema.schema import Payload, Schema, Table

__all__ = [
    "Enforcement",
    "Limits",
    "OutputSchema",
    "Payload",
    "Schema",
    "Table",
    "encode_predictions",
    "encode_refusal",
]
