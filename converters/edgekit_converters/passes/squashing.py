"""Tell the activation of a gate: one operator, or a hard sigmoid in several.

Keras writes a hard sigmoid as x * 0.2 + 0.5 between 0 and 1 (Keras 2), or as x + 3
between 0 and 6, over 6 (Keras 3). Knows no gate.
"""

from dataclasses import dataclass

from onnx import NodeProto

from edgekit_converters.passes.affine import Step

_PLAIN = {"Tanh", "Relu", "Sigmoid", "Softsign", "Softplus"}
_CLOSE = 1e-6
_BOUNDS = 3  # inputs of Clip: the value, the least and the most


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """An activation as ONNX's recurrent operators name it; `parameters` are alpha, beta."""

    name: str
    parameters: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """scale * value + shift."""

    value: str
    scale: float
    shift: float


def activation(step: Step, name: str) -> tuple[Activation, str] | None:
    """Return the activation that makes a value, and the value it is given."""
    node = step.maker(name)
    if node is not None and node.op_type in _PLAIN:
        return Activation(name=node.op_type), node.input[0]
    outer = _line(step, name)
    clip = step.maker(outer.value)
    top = None if clip is None or outer.shift else _top(step, clip)
    if clip is None or top is None or abs(top * outer.scale - 1) > _CLOSE:
        return None
    inner = _line(step, clip.input[0])
    parameters = (outer.scale * inner.scale, outer.scale * inner.shift)
    return Activation(name="HardSigmoid", parameters=parameters), inner.value


def _top(step: Step, node: NodeProto) -> float | None:
    """Return the most that a Clip from zero on lets through."""
    if node.op_type != "Clip" or len(node.input) < _BOUNDS:
        return None
    least, most = (step.constant(name) for name in node.input[1:_BOUNDS])
    if least is None or most is None or least.any():
        return None
    return float(most)


def _line(step: Step, name: str) -> _Line:
    """Follow a value back through sums and products with single numbers."""
    scale, shift = 1.0, 0.0
    while (found := _number(step, name)) is not None:
        operator, value, number = found
        if operator == "Add":
            shift += scale * number
        else:
            scale *= number if operator == "Mul" else 1 / number
        name = value
    return _Line(value=step.origin(name), scale=scale, shift=shift)


def _number(step: Step, name: str) -> tuple[str, str, float] | None:
    node = step.maker(name)
    if node is None or node.op_type not in {"Add", "Mul", "Div"}:
        return None
    pairs = [(node.input[0], node.input[1])]
    if node.op_type != "Div":
        pairs.append((node.input[1], node.input[0]))
    for value, other in pairs:
        constant = step.constant(other)
        if constant is not None and constant.size == 1 and constant.any():
            return node.op_type, value, float(constant.reshape(-1)[0])
    return None
