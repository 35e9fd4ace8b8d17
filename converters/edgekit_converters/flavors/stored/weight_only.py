"""The weight-only flavors: weights as codes of few values, computed in float32.

What unfolds the codes is computed once, when the session loads, so the graph that runs is
the float one: no integer kernels. Small models need no session option for it; large ones
spare memory while they load by DequantizeLinear, which without
`session.disable_quant_qdq=1` runs for each row, 2 to 25 times slower.
"""

from edgekit_converters.flavors.flavor import Builder, Built, DoesNotApply, Source
from edgekit_converters.flavors.stored.formats import Format
from edgekit_converters.flavors.stored.layout import is_heavy, unfolding_options
from edgekit_converters.flavors.stored.storing import MIN_OPSET, storable, store_weights
from edgekit_converters.flavors.stored.weights import counted
from edgekit_converters.passes.widened import widened


def builder(form: Format) -> Builder:
    """Return the builder of a flavor that stores every weight in one format."""

    def build(source: Source) -> Built | DoesNotApply:
        return _build(source, form)

    return build


def _build(source: Source, form: Format) -> Built | DoesNotApply:
    opset = max((o.version for o in source.model.opset_import if not o.domain), default=0)
    if opset < MIN_OPSET and form.packed:
        return DoesNotApply(reason=f"opset {opset}, unpacking needs {MIN_OPSET}")
    wide = widened(source.model)
    chosen = storable(wide, form)
    if not chosen:
        return DoesNotApply(
            reason="no Conv, Gemm, MatMul, recurrent or embedding weights that would get"
            " smaller: trees and linear operators keep theirs in attributes"
        )
    numbers = sum(weight.values.size for weight in chosen)
    if not form.spare and is_heavy(wide, numbers):
        return DoesNotApply(
            reason=f"{numbers:,} weights: {form.name} would take several times the memory"
            " of float32 while it loads; int4 takes little more than float32"
        )
    model = store_weights(
        wide, {weight.name: form for weight in chosen}, source.calibration
    )
    return Built(
        model=model,
        note=f"{counted(numbers, 'weight')} in {counted(len(chosen), 'tensor')} as"
        f" {form.name}{'' if wide is source.model else ', float16 computed in float32'}",
        session_options=unfolding_options(model),
    )
