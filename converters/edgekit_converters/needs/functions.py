"""Functions that a model brings along: refuse those that never end or explode. Pure."""

from collections.abc import Iterable

from onnx import ModelProto, NodeProto

from edgekit.errors import ConversionError
from edgekit_converters.needs.operators import plain
from edgekit_converters.passes.walk import nodes

MAX_NODES = 1_000_000
MAX_DEPTH = 100  # of functions in functions


def check_functions(model: ModelProto, subject: str) -> None:
    """Raise ConversionError before anything unfolds such functions.

    They must not call themselves, lie deeper than MAX_DEPTH, or unfold to more than
    MAX_NODES nodes.
    """
    bodies = {(plain(f.domain), f.name): f.node for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def unfolded(calls: Iterable[NodeProto], within: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in calls:
            name = (plain(node.domain), node.op_type)
            if name in within:
                raise ConversionError(f"{subject}: function {name[1]} calls itself")
            if len(within) == MAX_DEPTH and name in bodies:
                raise ConversionError(
                    f"{subject}: function {name[1]} is called within {MAX_DEPTH} others"
                )
            if name in bodies and name not in sizes:
                sizes[name] = unfolded(bodies[name], (*within, name))
            total += sizes.get(name, 1)
        return total

    if unfolded(nodes(model.graph), ()) > MAX_NODES:
        raise ConversionError(
            f"{subject}: its functions unfold to more than {MAX_NODES:,} nodes"
        )
