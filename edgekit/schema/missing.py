"""Which inputs are missing and which are too many. Knows names only."""

from collections.abc import Hashable, Sequence

from edgekit.errors import SchemaError


def refuse_missing(
    actual: Sequence[Hashable], required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[str, ...]:
    """Raise SchemaError for missing inputs, or return notes about those ignored."""
    known, present = {*required, *optional}, set(actual)
    extra = [label for label in actual if label not in known]
    absent = [name for name in required if name not in present]
    if absent:
        tail = f" Note that there were extra inputs: {extra}." if extra else ""
        refusal = SchemaError(f"Model is missing inputs {absent}.{tail}")
        refusal.column = absent[0]
        raise refusal
    if not extra:
        return ()
    note = (
        "Found extra inputs in the model input that are not defined in the model signature:"
        f" `{extra}`. These inputs will be ignored."
    )
    return (note,)
