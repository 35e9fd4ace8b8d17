"""Drop what no runtime reads: names of nodes, documentation, shapes, unused opsets.

Promises equal outputs, and that inputs, outputs, opset versions and IR stay.
"""

from onnx import GraphProto, ModelProto

from edgekit_converters.passes.walk import copied, graphs, nodes

_CANONICAL = {"ai.onnx": ""}


def drop_chatter(model: ModelProto) -> ModelProto:
    """Return the model without node names, documentation, inner shapes and metadata."""
    out = copied(model)
    for field in ("producer_name", "producer_version", "doc_string", "domain"):
        out.ClearField(field)
    for field in ("model_version", "metadata_props", "training_info"):
        out.ClearField(field)
    for graph in graphs(out.graph):
        _quieten(graph)
    return out


def drop_unused_opsets(model: ModelProto) -> ModelProto:
    """Return the model importing only the operator sets that its nodes use.

    ONNX's own set stays, used or not: readers take it for granted.
    """
    out = copied(model)
    used = {""} | {_canonical(node.domain) for node in nodes(out.graph)}
    for function in out.functions:
        used.update(_canonical(node.domain) for node in function.node)
        used.update(_canonical(opset.domain) for opset in function.opset_import)
    versions = {
        _canonical(opset.domain): opset.version
        for opset in out.opset_import
        if _canonical(opset.domain) in used
    }
    del out.opset_import[:]
    for domain, version in sorted(versions.items()):
        out.opset_import.add(domain=domain, version=version)
    return out


def _canonical(domain: str) -> str:
    return _CANONICAL.get(domain, domain)


def _quieten(graph: GraphProto) -> None:
    graph.name = "g"  # the checker wants one
    for field in ("doc_string", "value_info", "quantization_annotation", "metadata_props"):
        graph.ClearField(field)
    for value in (*graph.input, *graph.output):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    for tensor in graph.initializer:
        tensor.ClearField("doc_string")
    for node in graph.node:
        for field in ("name", "doc_string", "metadata_props"):
            node.ClearField(field)
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            attribute.t.ClearField("name") if attribute.HasField("t") else None
