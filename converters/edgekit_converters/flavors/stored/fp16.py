"""The fp16 flavor: constants stored as float16, computed in float32.

A Cast in front of each is folded when the session loads, so it runs at float32's speed;
a graph that computes in float16 ran at 0.77 of it on a CPU without such instructions.
"""

import numpy as np

from edgekit.table import Array
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source
from edgekit_converters.flavors.stored.layout import write
from edgekit_converters.flavors.stored.weights import counted, floats

MIN_ELEMENTS = 32  # below it the Cast node costs more bytes than two a number save
_LARGEST = float(np.finfo(np.float16).max)


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with every constant of MIN_ELEMENTS or more stored as float16."""
    chosen = [(name, values) for name, values in floats(source.model) if _storable(values)]
    if not chosen:
        return DoesNotApply(
            reason=f"no float constant of {MIN_ELEMENTS} or more numbers within float16's"
            " range outside tree and linear operators' own attributes"
        )
    model = write(
        source.model,
        {},
        {name: values.astype(np.float16).astype(np.float32) for name, values in chosen},
    )
    numbers = sum(values.size for _, values in chosen)
    return Built(
        model=model,
        note=f"{counted(numbers, 'number')} in {counted(len(chosen), 'constant')} as"
        " float16",
    )


def _storable(values: Array) -> bool:
    return values.size >= MIN_ELEMENTS and bool(np.abs(values).max() <= _LARGEST)
