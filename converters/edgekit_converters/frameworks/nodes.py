"""Where a converter adds ONNX nodes one by one: the port, and a graph of our own.

Knows no framework. The names of values follow from the order alone: equal models, equal
bytes.
"""

from collections.abc import Mapping
from typing import Protocol

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array

OPSET = 13  # of ai.onnx, the oldest with all that converters of our own use
ML_DOMAIN = "ai.onnx.ml"
_ML_OPSET = 3
PLAIN = ("", OPSET)
ML = (ML_DOMAIN, 1)
LABELS = (ML_DOMAIN, 2)  # the first with a LabelEncoder from anything to anything


class Nodes(Protocol):
    """Takes nodes in their order."""

    def add(
        self,
        kind: str,
        read: list[str],
        *,
        opset: tuple[str, int] = PLAIN,
        into: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> str:
        """Add a node and return the name of its output."""

    def constant(self, value: Array) -> str:
        """Add an initialiser and return its name."""


class OwnGraph:
    """A graph with an input float32 [rows, width], and one of texts [rows, texts].

    Either is left out where it would have no column.
    """

    INPUT, TEXTS = "input", "texts"

    def __init__(self, width: int, texts: int = 0) -> None:
        inputs = (
            (self.INPUT, TensorProto.FLOAT, width),
            (self.TEXTS, TensorProto.STRING, texts),
        )
        self._inputs = [
            helper.make_tensor_value_info(name, element, ["rows", columns])
            for name, element, columns in inputs
            if columns
        ]
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def add(
        self,
        kind: str,
        read: list[str],
        *,
        opset: tuple[str, int] = PLAIN,
        into: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> str:
        """Add a node and return the name of its output."""
        output = into or f"value_{len(self._nodes)}"
        node = helper.make_node(kind, read, [output], domain=opset[0])
        given = attributes or {}
        node.attribute.extend(
            helper.make_attribute(name, given[name]) for name in sorted(given)
        )
        self._nodes.append(node)
        return output

    def constant(self, value: Array) -> str:
        """Add an initialiser and return its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def model(self, outputs: Mapping[str, int], *, opset: int) -> ModelProto:
        """Return the graph with these outputs (name -> element type)."""
        graph = helper.make_graph(
            self._nodes,
            "model",
            self._inputs,
            [
                helper.make_tensor_value_info(name, element, None)
                for name, element in outputs.items()
            ],
            self._constants,
        )
        opsets = [helper.make_opsetid("", opset)]
        if any(node.domain == ML_DOMAIN for node in self._nodes):
            opsets.append(helper.make_opsetid(ML_DOMAIN, _ML_OPSET))
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets, ignore_unknown=True),
        )
