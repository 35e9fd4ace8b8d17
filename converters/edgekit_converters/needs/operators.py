"""Which operators a graph uses, and whether they are ONNX's. Pure; loads no graph.

ONNX's own operators are those of ai.onnx and ai.onnx.ml that the onnx package has a schema
of at the opset the model names. Others are contributed: one onnxruntime knows them, the
next may not. A function that the model brings along is neither.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from onnx import ModelProto, checker, defs
from onnx import shape_inference as inference

from edgekit import runtime
from edgekit_converters.needs.sizes import lightened
from edgekit_converters.passes.walk import nodes

OWN_DOMAINS = ("", "ai.onnx.ml")
_DEFAULT_DOMAIN = "ai.onnx"
_SENTENCE_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """An operator and how often it occurs; `since` is the opset that its form is from.

    `since` is 0 where ONNX has no such operator at the model's opset.
    """

    domain: str
    name: str
    count: int
    since: int


def opsets(model: ModelProto) -> dict[str, int]:
    """Return domain -> version; "" is ai.onnx."""
    return {plain(entry.domain): entry.version for entry in model.opset_import}


def plain(domain: str) -> str:
    """Return "" for ai.onnx, which may be written out."""
    return "" if domain == _DEFAULT_DOMAIN else domain


def shown(domain: str) -> str:
    """Return a domain as people write it."""
    return domain or _DEFAULT_DOMAIN


def census(model: ModelProto) -> tuple[Used, ...]:
    """Return every operator that occurs, functions and nested graphs included."""
    known = opsets(model)
    own = _functions(model)
    counts = Counter(operator for operator in _every(model) if operator not in own)
    return tuple(
        Used(
            domain=domain,
            name=name,
            count=count,
            since=_since(name, domain, known.get(domain, 0)),
        )
        for (domain, name), count in sorted(counts.items())
    )


def contributed(model: ModelProto) -> tuple[Used, ...]:
    """Return the operators of other domains than ONNX's own."""
    return tuple(one for one in census(model) if one.domain not in OWN_DOMAINS)


def unregistered(model: ModelProto) -> tuple[Used, ...]:
    """Return the operators that ONNX does not have at the model's opset."""
    return tuple(
        one for one in census(model) if not one.since and one not in contributed(model)
    )


def strange(model: ModelProto) -> tuple[Used, ...]:
    """Return the contributed operators that the onnxruntime installed here does not know.

    Others may; a model that brings them along as functions does not need it.
    """
    return tuple(
        one for one in contributed(model) if (one.domain, one.name) not in _offered()
    )


@cache
def _offered() -> frozenset[tuple[str, str]]:
    return runtime.operators()


def schema_trouble(model: ModelProto) -> str:
    """Say what stands against the graph by ONNX's schemas, "" if nothing does.

    Operators, their inputs and attributes, types and shapes are checked; large constants
    by their type and shape alone.
    """
    try:
        checker.check_model(lightened(model), full_check=True)
    except UnicodeDecodeError:
        return "a text in it is not UTF-8"
    except (checker.ValidationError, inference.InferenceError, RuntimeError) as error:
        return " ".join(str(error).split())[:_SENTENCE_CHARACTERS]
    return ""


def _functions(model: ModelProto) -> set[tuple[str, str]]:
    return {(plain(one.domain), one.name) for one in model.functions}


def _every(model: ModelProto) -> Iterator[tuple[str, str]]:
    for node in nodes(model.graph):
        yield plain(node.domain), node.op_type
    for function in model.functions:
        for node in function.node:
            yield plain(node.domain), node.op_type


def _since(name: str, domain: str, opset: int) -> int:
    try:
        schema = defs.get_schema(name, max_inclusive_version=opset, domain=domain)
    except defs.SchemaError:
        return 0
    return 0 if schema.deprecated else int(schema.since_version)
