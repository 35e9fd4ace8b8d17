"""What a request's Content-Type says of its body. Knows the header, no body and no model.

The rules and sentences are those of MLflow 3.17's scoring server.
"""

from enum import StrEnum

_PROTOCOL_CHANGE = (
    "IMPORTANT: The MLflow Model scoring protocol has changed in MLflow version 2.0. If you"
    " are seeing this error, you are likely using an outdated scoring request format. To"
    " resolve the error, either update your request format or adjust your MLflow Model's"
    " requirements file to specify an older version of MLflow (for example, change the"
    " 'mlflow' requirement specifier to 'mlflow==1.30.0'). If you are making a request"
    " using the MLflow client (e.g. via `mlflow.pyfunc.spark_udf()`), upgrade your MLflow"
    " client to a version >= 2.0 in order to use the new request format. For more"
    " information about the updated MLflow Model scoring protocol in MLflow 2.0, see"
    " https://mlflow.org/docs/latest/models.html#deploy-mlflow-models."
)


class Content(StrEnum):
    """The bodies that are read. MLflow's server also reads Parquet."""

    CSV = "text/csv"
    JSON = "application/json"


class UnsupportedContentError(ValueError):
    """A content type that is not read; the message is the answer's whole body."""


def content(header: str) -> Content:
    """Return what a Content-Type header announces, or raise UnsupportedContentError."""
    kind, *pairs = [part.strip() for part in header.split(";")]
    parameters = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    if parameters.get("charset", "utf-8").lower() != "utf-8":
        raise UnsupportedContentError("The scoring server only supports UTF-8")
    if unknown := sorted(parameters.keys() - {"charset"}):
        raise UnsupportedContentError(
            f"Unrecognized content type parameters: {', '.join(unknown)}."
            f" {_PROTOCOL_CHANGE}"
        )
    try:
        return Content(kind)
    except ValueError:
        known = [one.value for one in Content]
        raise UnsupportedContentError(
            "This predictor only supports the following content types:"
            f" Types: {known}. Got '{header}'."
        ) from None
