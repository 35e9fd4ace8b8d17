"""Say when rows of one class are to tell classes apart. Pure; knows labels as texts."""

from edgekit.errors import ConversionError
from edgekit.table import Array
from edgekit_converters.verdict.metrics import Metric

_BETWEEN = {Metric.MACRO_F1, Metric.RECALL}  # of labels; the others need scores


def refuse(metric: Metric, true: Array) -> None:
    """Raise ConversionError where all true labels ([rows], at least one) are the same."""
    if metric in _BETWEEN and len(set(true.tolist())) == 1:
        raise ConversionError(
            f"metric {metric}: all {len(true)} rows are {true[0]}; rows of at least two"
            " classes are expected, or another --metric"
        )


def remark(said: Array, true: Array | None) -> str:
    """Return what rows of one class cannot show, "" where there are several.

    `said` are the original's labels, `true` the true ones.
    """
    if true is not None and len(set(true.tolist())) == 1:
        return (
            f"all {len(true):,} true labels are {true[0]}: nothing is known of what rows of"
            " other classes would lose"
        )
    if true is None and len(set(said.tolist())) == 1 and len(said) > 1:
        return (
            f"the original answers all {len(said):,} rows with {said[0]}: nothing is known"
            " of rows that it answers otherwise"
        )
    return ""
