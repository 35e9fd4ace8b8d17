"""Name and order the parts of tf2onnx's graphs the same way in every run.

tf2onnx counts the names it makes up, and merges equal constants, in the order of a hash
table: which numbers and which of the names are left is chance. Knows ONNX alone.
"""

import itertools
import re
from collections import Counter

from onnx import ModelProto, NodeProto

from edgekit_converters.passes.walk import graphs, interface, nodes, rename

_COUNTS = re.compile(r"__\d+")


def settle(model: ModelProto) -> None:
    """Take counters out of names, name shared constants by their readers, and sort."""
    constants = {tensor.name for tensor in model.graph.initializer}
    _rename_values(model, constants)
    called: set[str] = set()
    for node in nodes(model.graph):
        node.name = _fresh(_COUNTS.sub("", node.name), called) if node.name else ""
    _rename_constants(model, constants - interface(model.graph))
    order = {name: number for number, name in enumerate(_read(model))}
    tensors = sorted(
        model.graph.initializer, key=lambda tensor: order.get(tensor.name, len(order))
    )
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(tensors)


def _rename_values(model: ModelProto, constants: set[str]) -> None:
    kept = interface(model.graph) | constants
    made = [name for node in nodes(model.graph) for name in node.output if name]
    inner = [value.name for graph in graphs(model.graph) for value in graph.input]
    counted = [name for name in dict.fromkeys(inner + made) if name not in kept]
    fixed = kept | {name for name in counted if not _COUNTS.search(name)}
    renamed: dict[str, str] = {}
    for name in counted:
        if _COUNTS.search(name):
            renamed[name] = _fresh(_COUNTS.sub("", name), fixed)
    rename(model.graph, renamed)


def _rename_constants(model: ModelProto, own: set[str]) -> None:
    """Give constants that are shared, or have no name of their own, their reader's."""
    readers = Counter(_read(model, every=True))
    taken = {name for node in nodes(model.graph) for name in node.output} | own
    renamed: dict[str, str] = {}
    for node in nodes(model.graph):
        for place, name in enumerate(node.input):
            nameless = readers[name] > 1 or _COUNTS.search(name)
            if name in own and name not in renamed and nameless:
                renamed[name] = _fresh(f"{_called(node)}/{place}", taken)
    rename(model.graph, renamed)


def _fresh(wanted: str, taken: set[str]) -> str:
    """Return a name that no other has, and take it."""
    numbered = (f"{wanted}.{number}" for number in itertools.count(1))
    name = next(n for n in itertools.chain([wanted], numbered) if n not in taken)
    taken.add(name)
    return name


def _read(model: ModelProto, *, every: bool = False) -> list[str]:
    names = [name for node in nodes(model.graph) for name in node.input]
    return names if every else list(dict.fromkeys(names))


def _called(node: NodeProto) -> str:
    return next(filter(None, node.output), node.op_type)
