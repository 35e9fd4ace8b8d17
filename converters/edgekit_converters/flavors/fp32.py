"""The float32 flavor: the cleaned model itself.

One that computes in integers already keeps them; its weights are stored so that no
processor's sums saturate.
"""

from edgekit_converters.flavors.flavor import Built, Source
from edgekit_converters.passes.quantised import unsigned_weights


def build(source: Source) -> Built:
    """Return the cleaned model as it is."""
    model = unsigned_weights(source.model)
    if model is source.model:
        return Built(model=model, note="lossless passes only")
    return Built(model=model, note="lossless passes only; int8 weights as uint8 around 128")
