"""Tell what really computes in integers, from the graph that onnxruntime makes of a model.

"int8" is often not int8: onnxruntime falls back to float, without a word, wherever it has
no integer kernel for what it finds. Which kernels there are depends on the processor, so
this is what runs on the machine that converts.
"""

import re
from collections.abc import Mapping, Sequence

from onnx import ModelProto

from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import optimised
from edgekit_converters.encoding import decode, encode
from edgekit_converters.flavors.flavor import NO_OPTIONS, Finding, Source
from edgekit_converters.flavors.integers import Layer
from edgekit_converters.passes.walk import nodes

INTEGER_KERNELS = {
    "ConvInteger",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "NhwcQLinearConv",
    "QAttention",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
}
_PLURALS = {"Conv": "convolutions", "Gemm": "dense layers", "MatMul": "matrix products"}
_NUMBERED = re.compile(r"^layer (\d+)")


def node_name(number: int) -> str:
    """Return the name by which the node of a layer is found again; cleaning drops it."""
    return f"layer {number}"


def kernels(model: ModelProto, session_options: Mapping[str, str]) -> dict[int, str]:
    """Return the operator that each numbered layer is run by; ProofError if it cannot run.

    The layers' nodes have to bear their `node_name`.
    """
    needs = RuntimeNeeds(
        opsets={},
        ir_version=model.ir_version,
        min_onnxruntime="",
        session_options=session_options,
    )
    found: dict[int, str] = {}
    for node in nodes(decode(optimised(encode(model), needs)).graph):
        named = _NUMBERED.match(node.name)
        if named:
            number = int(named.group(1))
            if found.get(number) not in INTEGER_KERNELS:
                found[number] = node.op_type
    return found


def execution(
    model: ModelProto, layers: Sequence[Layer], source: Source
) -> tuple[Finding, ...]:
    """Say of each layer what it runs in, and of each kind how many run in int8."""
    ran = kernels(model, NO_OPTIONS)
    whole = {layer.number for layer in layers if ran.get(layer.number) in INTEGER_KERNELS}
    return (
        *(_total(operator, layers, whole) for operator in _operators(layers)),
        *(_one(layer, ran.get(layer.number, ""), source) for layer in layers),
    )


def _operators(layers: Sequence[Layer]) -> list[str]:
    return sorted({layer.operator for layer in layers})


def _total(operator: str, layers: Sequence[Layer], whole: set[int]) -> Finding:
    numbers = {layer.number for layer in layers if layer.operator == operator}
    return Finding(
        subject="whole model",
        fact=f"{len(numbers & whole)} of {len(numbers)} {_PLURALS[operator]} run in int8",
    )


def _one(layer: Layer, kernel: str, source: Source) -> Finding:
    ran = "int8" if kernel in INTEGER_KERNELS else "float"
    by = f"{kernel} instead of {layer.operator}" if kernel else "part of another operator"
    return Finding(subject=source.original_name(layer.output), fact=f"runs in {ran} ({by})")
