"""The float32 flavor: the cleaned model itself.

One that computes in integers already keeps them; its weights are stored so that no
processor's sums saturate.
"""

from edgekit_converters.flavors.computed.kernels import overall
from edgekit_converters.flavors.flavor import Built, Source
from edgekit_converters.passes.quantised import integer_operators, unsigned_weights


def build(source: Source) -> Built:
    """Return the cleaned model as it is."""
    model = unsigned_weights(source.model)
    shifted = "" if model is source.model else "; int8 weights as uint8 around 128"
    return Built(
        model=model,
        note=f"float32, cleaned and folded{shifted}",
        findings=(overall(model),) if integer_operators(model) else (),
    )
