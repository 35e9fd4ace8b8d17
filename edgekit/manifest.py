"""What a bundle says about itself: the model, its interface, its needs, its proof.

Knows no files, no ONNX and no network: JSON bytes in, frozen values out, and back. The
format is described in docs/formats/bundle.md. Top-level fields that a newer release tool
added are kept in `extra`, so that reading and writing a manifest keeps them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from edgekit.document import Reader, canonical_json
from edgekit.errors import TrustError

FORMAT = 1
MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
GOLDEN_NAME = "golden.json"
PROFILE_NAME = "profile.json"
_MEMBER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_TENSORS = 1_000
MAX_COLUMNS = 100_000


class OutputRole(StrEnum):
    """What an ONNX output means to the caller."""

    PREDICTION = "prediction"  # what the original python_function returned
    PROBABILITY = "probability"  # per-class probabilities, beside the prediction
    SCORE = "score"  # a decision value, beside the prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of the bundle: SHA-256 and length in bytes of its uncompressed content."""

    sha256: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which registered model version this is, and where it came from."""

    name: str
    version: str
    run_id: str
    source_sha256: str  # digest of the version's artifact folder, see docs/formats


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeNeeds:
    """What onnxruntime must be and be told to run this flavor."""

    opsets: Mapping[str, int]  # domain -> version; "" is ai.onnx
    ir_version: int
    min_onnxruntime: str  # "1.16"
    session_options: Mapping[str, str] = field(default_factory=dict)
    isas: tuple[str, ...] = ()  # vector extensions, one of which it needs; (): any will do


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What this flavor cost on the machine that measured it (`measured_on`).

    The last three are 0 in manifests that were written before they were measured.
    """

    model_bytes: int
    peak_rss_bytes: int  # of a child process with onnxruntime and this session
    load_us: int
    one_row_p50_us: int
    one_row_p95_us: int
    measured_on: str
    load_peak_rss_bytes: int = 0  # of the same child, until the session was made
    runtime_floor_bytes: int = 0  # of the same child, before: onnxruntime and numpy
    estimated_peak_bytes: int = 0  # what the graph alone told, the floor included


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInput:
    """One ONNX input and the signature columns that fill it, side by side.

    `columns` are names of the MLflow signature; one empty name stands for a lone unnamed
    tensor. `dtype` is numpy's name ("float32", "int64", "str", ...); `shape` has -1 where
    any length goes, the batch first.
    """

    name: str
    dtype: str
    columns: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorOutput:
    """One ONNX output and how it returns to the caller.

    `name` is the caller's name ("" for a lone array), `tensor` ONNX's; `dtype` and `shape`
    are those of the original python_function, to which the value is cast and reshaped.
    """

    name: str
    tensor: str
    role: OutputRole
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Restores the original's interface around the ONNX graph."""

    inputs: tuple[TensorInput, ...]
    outputs: tuple[TensorOutput, ...]
    classes: tuple[str, ...] = ()  # labels in the order of the probability columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a device's outputs may lie from the golden ones: |a-b| <= atol + rtol*|b|."""

    rtol: float
    atol: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """MLflow's model signature: its own JSON lists, None where MLflow has none."""

    inputs: list[dict[str, object]] | None = None
    outputs: list[dict[str, object]] | None = None
    params: list[dict[str, object]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything a device must know of one flavor of one model version."""

    model: ModelIdentity
    flavor: str
    files: Mapping[str, Member]
    runtime: RuntimeNeeds
    footprint: Footprint
    signature: Signature
    binding: Binding
    tolerance: Tolerance
    conversion: Mapping[str, object] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)
    format: int = FORMAT

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Parse, or raise TrustError: a manifest that cannot be read must not run."""
        reader = Reader.from_json(data, subject="manifest", error=TrustError)
        version = reader.integer("format", least=1)
        if version > FORMAT:
            raise TrustError(
                f"manifest: format {version}, this edgekit reads up to {FORMAT};"
                " update the agent first"
            )
        model = reader.child("model")
        return cls(
            format=version,
            model=ModelIdentity(
                name=model.text("name"),
                version=model.text("version"),
                run_id=model.text("run_id"),
                source_sha256=model.sha256("source_sha256"),
            ),
            flavor=reader.text("flavor"),
            files=_files(reader),
            runtime=_runtime(reader.child("runtime")),
            footprint=_footprint(reader.child("footprint")),
            signature=read_signature(reader.child("signature", optional=True)),
            binding=read_binding(reader.child("binding")),
            tolerance=_tolerance(reader.child("tolerance")),
            conversion=reader.child("conversion", optional=True).table,
            tools=reader.string_map("tools", optional=True),
            extra=reader.rest(_KNOWN),
        )

    def to_json(self) -> bytes:
        """Encode canonically: equal manifests give equal bytes."""
        return canonical_json(
            {
                **self.extra,
                "format": self.format,
                "model": {
                    "name": self.model.name,
                    "version": self.model.version,
                    "run_id": self.model.run_id,
                    "source_sha256": self.model.source_sha256,
                },
                "flavor": self.flavor,
                "files": {
                    name: {"sha256": member.sha256, "length": member.length}
                    for name, member in self.files.items()
                },
                "runtime": {
                    "opsets": dict(self.runtime.opsets),
                    "ir_version": self.runtime.ir_version,
                    "min_onnxruntime": self.runtime.min_onnxruntime,
                    "session_options": dict(self.runtime.session_options),
                    **({"isas": list(self.runtime.isas)} if self.runtime.isas else {}),
                },
                "footprint": {
                    "model_bytes": self.footprint.model_bytes,
                    "peak_rss_bytes": self.footprint.peak_rss_bytes,
                    "load_us": self.footprint.load_us,
                    "one_row_p50_us": self.footprint.one_row_p50_us,
                    "one_row_p95_us": self.footprint.one_row_p95_us,
                    "measured_on": self.footprint.measured_on,
                    **_told(self.footprint),
                },
                "signature": signature_document(self.signature),
                "binding": binding_document(self.binding),
                "tolerance": {
                    "rtol": self.tolerance.rtol,
                    "atol": self.tolerance.atol,
                },
                "conversion": dict(self.conversion),
                "tools": dict(self.tools),
            }
        )


_KNOWN = frozenset(
    {
        "format",
        "model",
        "flavor",
        "files",
        "runtime",
        "footprint",
        "signature",
        "binding",
        "tolerance",
        "conversion",
        "tools",
    }
)


def _files(reader: Reader) -> dict[str, Member]:
    found = reader.named("files")
    for name in found:
        if not _MEMBER_NAME.fullmatch(name) or name == MANIFEST_NAME:
            reader.fail("files", f"a plain lower-case file name instead of {name!r}")
    if MODEL_NAME not in found:
        reader.fail("files", f"an entry {MODEL_NAME}")
    return {
        name: Member(sha256=entry.sha256("sha256"), length=entry.integer("length"))
        for name, entry in found.items()
    }


def _runtime(reader: Reader) -> RuntimeNeeds:
    opsets = reader.child("opsets")
    return RuntimeNeeds(
        opsets={domain: opsets.integer(domain, least=1) for domain in opsets.table},
        ir_version=reader.integer("ir_version", least=1),
        min_onnxruntime=reader.text("min_onnxruntime"),
        session_options=reader.string_map("session_options", optional=True),
        isas=reader.texts("isas", ()),
    )


def _footprint(reader: Reader) -> Footprint:
    return Footprint(
        model_bytes=reader.integer("model_bytes"),
        peak_rss_bytes=reader.integer("peak_rss_bytes"),
        load_us=reader.integer("load_us"),
        one_row_p50_us=reader.integer("one_row_p50_us"),
        one_row_p95_us=reader.integer("one_row_p95_us"),
        measured_on=reader.text("measured_on"),
        load_peak_rss_bytes=reader.integer("load_peak_rss_bytes", 0),
        runtime_floor_bytes=reader.integer("runtime_floor_bytes", 0),
        estimated_peak_bytes=reader.integer("estimated_peak_bytes", 0),
    )


def _told(footprint: Footprint) -> dict[str, int]:
    """Return the later figures that are known: manifests without them keep their bytes."""
    later = {
        "load_peak_rss_bytes": footprint.load_peak_rss_bytes,
        "runtime_floor_bytes": footprint.runtime_floor_bytes,
        "estimated_peak_bytes": footprint.estimated_peak_bytes,
    }
    return {name: size for name, size in later.items() if size}


def signature_document(signature: Signature) -> dict[str, object]:
    """Return a signature as the manifest's JSON object."""
    return {
        "inputs": signature.inputs,
        "outputs": signature.outputs,
        "params": signature.params,
    }


def read_signature(reader: Reader) -> Signature:
    """Read what `signature_document` wrote, or raise the reader's error."""

    def listed(key: str) -> list[dict[str, object]] | None:
        if not reader.has(key):
            return None
        return [dict(entry.table) for entry in reader.children(key)]

    return Signature(
        inputs=listed("inputs"), outputs=listed("outputs"), params=listed("params")
    )


def _shape(reader: Reader) -> tuple[int, ...]:
    value = reader.table.get("shape")
    if not isinstance(value, list) or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= -1 for n in value
    ):
        reader.fail("shape", "a list of whole numbers, -1 for any length,")
    return tuple(value)


def binding_document(binding: Binding) -> dict[str, object]:
    """Return a binding as the manifest's JSON object."""
    return {
        "inputs": [
            {
                "name": i.name,
                "dtype": i.dtype,
                "columns": list(i.columns),
                "shape": list(i.shape),
            }
            for i in binding.inputs
        ],
        "outputs": [
            {
                "name": o.name,
                "tensor": o.tensor,
                "role": o.role.value,
                "dtype": o.dtype,
                "shape": list(o.shape),
            }
            for o in binding.outputs
        ],
        "classes": list(binding.classes),
    }


def read_binding(reader: Reader) -> Binding:
    """Read what `binding_document` wrote, or raise the reader's error."""
    inputs = reader.children("inputs")
    outputs = reader.children("outputs")
    if not 0 < len(inputs) <= MAX_TENSORS:
        reader.fail("inputs", f"a list of 1 to {MAX_TENSORS} tensors")
    if not 0 < len(outputs) <= MAX_TENSORS:
        reader.fail("outputs", f"a list of 1 to {MAX_TENSORS} tensors")
    return Binding(
        inputs=tuple(_tensor_input(entry) for entry in inputs),
        outputs=tuple(_tensor_output(entry) for entry in outputs),
        classes=reader.texts("classes", ()),
    )


def _tensor_input(reader: Reader) -> TensorInput:
    columns = reader.texts("columns")
    if not 0 < len(columns) <= MAX_COLUMNS:
        reader.fail("columns", f"a list of 1 to {MAX_COLUMNS} names")
    return TensorInput(
        name=reader.text("name"),
        dtype=reader.text("dtype"),
        columns=columns,
        shape=_shape(reader),
    )


def _tensor_output(reader: Reader) -> TensorOutput:
    return TensorOutput(
        name=reader.text("name"),
        tensor=reader.text("tensor"),
        role=OutputRole(reader.one_of("role", OutputRole)),
        dtype=reader.text("dtype"),
        shape=_shape(reader),
    )


def _tolerance(reader: Reader) -> Tolerance:
    return Tolerance(rtol=reader.number("rtol"), atol=reader.number("atol"))
