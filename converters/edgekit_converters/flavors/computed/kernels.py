"""Tell what really computes in integers, from the graph that onnxruntime makes of a model.

"int8" is often not int8: onnxruntime falls back to float, without a word, wherever it has
no integer kernel for what it finds. Which kernels there are depends on the processor, so
this is what runs on the machine that converts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from onnx import ModelProto, NodeProto

from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import optimised
from edgekit_converters.encoding import decode, encode
from edgekit_converters.flavors.computed.integers import Layer
from edgekit_converters.flavors.flavor import NO_OPTIONS, Finding, Source
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
_FLOAT_KERNELS = {
    "Conv",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "Gemm",
    "MatMul",
    "NhwcFusedConv",
}
_PLURALS = {
    "Conv": "convolutions",
    "ConvTranspose": "transposed convolutions",
    "GRU": "GRU layers",
    "Gemm": "dense layers",
    "LSTM": "LSTM layers",
    "MatMul": "matrix products",
    "RNN": "recurrent layers",
}
_NUMBERED = re.compile(r"^layer (\d+)")


def node_name(number: int) -> str:
    """Return the name by which the node of a layer is found again; cleaning drops it."""
    return f"layer {number}"


def kernels(model: ModelProto, session_options: Mapping[str, str]) -> dict[int, str]:
    """Return the operator that each numbered layer is run by; ProofError if it cannot run.

    The layers' nodes have to bear their `node_name`.
    """
    found: dict[int, str] = {}
    for node in _optimised(model, session_options):
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
    every = {
        number: node
        for number, node in enumerate(source.model.graph.node)
        if node.op_type in _PLURALS
    }
    known = {layer.number for layer in layers}
    whole = {number for number in known if ran.get(number) in INTEGER_KERNELS}
    operators = sorted({every[number].op_type for number in known})
    return (
        *(_total(operator, every, whole) for operator in operators),
        *(
            _one(node, ran.get(number, "") if number in known else None, source)
            for number, node in every.items()
        ),
    )


def overall(model: ModelProto) -> Finding:
    """Say how many weighted operators of a quantised model run in integers."""
    counts: dict[str, int] = {}
    for node in _optimised(model, NO_OPTIONS):
        if node.op_type in INTEGER_KERNELS or node.op_type in _FLOAT_KERNELS:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    whole = sum(count for kernel, count in counts.items() if kernel in INTEGER_KERNELS)
    told = ", ".join(f"{count} {kernel}" for kernel, count in sorted(counts.items()))
    fact = f"{whole} of {sum(counts.values())} weighted operators run in int8"
    return Finding(subject="whole model", fact=f"{fact} ({told})" if told else fact)


def _optimised(
    model: ModelProto, session_options: Mapping[str, str]
) -> Iterator[NodeProto]:
    needs = RuntimeNeeds(
        opsets={},
        ir_version=model.ir_version,
        min_onnxruntime="",
        session_options=session_options,
    )
    yield from nodes(decode(optimised(encode(model), needs)).graph)


def _total(
    operator: str, every: Mapping[int, NodeProto], whole: AbstractSet[int]
) -> Finding:
    numbers = {number for number, node in every.items() if node.op_type == operator}
    return Finding(
        subject="whole model",
        fact=f"{len(numbers & whole)} of {len(numbers)} {_PLURALS[operator]} run in int8",
    )


def _one(node: NodeProto, kernel: str | None, source: Source) -> Finding:
    if kernel is None:
        fact = f"runs in float ({node.op_type}, not quantised)"
    elif kernel in INTEGER_KERNELS:
        fact = f"runs in int8 ({kernel} instead of {node.op_type})"
    else:
        fact = f"runs in float ({kernel or 'a part of another operator'})"
    return Finding(subject=source.original_name(node.output[0]), fact=fact)
