"""The int8-static flavor: weights and activations in int8, ranges observed on samples.

Several ways to observe them are compared in the gate's own metric, and the best is built.
"""

import math

from onnx import ModelProto

from edgekit.table import rows
from edgekit_converters.flavors.computed.integers import Layer, layers
from edgekit_converters.flavors.computed.kernels import execution
from edgekit_converters.flavors.computed.qdq import MIN_OPSET
from edgekit_converters.flavors.computed.ranges import few_rows
from edgekit_converters.flavors.computed.variants import Variant, Workshop, choose
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source

NO_TIME = "the time was up before one variant was judged"


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with its Conv, Gemm and MatMul in int8."""
    found = layers(source.model)
    reason = against(source.model, found)
    if reason:
        return DoesNotApply(reason=reason)
    workshop = Workshop(source, found)
    choice = choose(workshop, source)
    if choice is None:
        return DoesNotApply(reason=NO_TIME)
    if math.isinf(choice.drop):
        return DoesNotApply(reason="no variant of it runs")
    model = workshop.build(choice.variant)
    return Built(
        model=model,
        note=f"{len(found)} layers in int8, {told(choice.variant, source)}",
        findings=(*choice.findings, *execution(model, found, source)),
    )


def against(model: ModelProto, found: tuple[Layer, ...]) -> str:
    """Say why a model cannot compute in int8, or ""."""
    opset = max((o.version for o in model.opset_import if not o.domain), default=0)
    if opset < MIN_OPSET:
        return f"opset {opset}, per-channel scales need {MIN_OPSET}"
    if not found:
        return "no Conv, Gemm or MatMul with constant weights"
    return ""


def told(variant: Variant, source: Source) -> str:
    """Say how the layers were quantised."""
    return f"{variant}, ranges from {rows(few_rows(source.calibration))} rows"
