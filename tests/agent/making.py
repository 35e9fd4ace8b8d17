"""Make small real bundles: y = scale * (a + b), with golden vectors and a signature."""

import hashlib
import io
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgekit import bundle, golden
from edgekit.golden import Golden
from edgekit.manifest import (
    GOLDEN_NAME,
    MODEL_NAME,
    Binding,
    Footprint,
    Manifest,
    ModelIdentity,
    OutputRole,
    RuntimeNeeds,
    Signature,
    TensorInput,
    TensorOutput,
    Tolerance,
)
from edgekit.statement import BundleEntry
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store

OPSET = 17
COLUMNS = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A bundle file and what the fleet's statements say of it."""

    manifest: Manifest
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def entry(self) -> BundleEntry:
        index = bundle.chunk_index(self.data)
        return BundleEntry(
            flavor=self.manifest.flavor,
            sha256=self.sha256,
            length=len(self.data),
            chunk_bytes=65_024,
            index_sha256=hashlib.sha256(index).hexdigest(),
            unpacked_bytes=sum(m.length for m in self.manifest.files.values()),
            peak_rss_bytes=self.manifest.footprint.peak_rss_bytes,
            min_onnxruntime=self.manifest.runtime.min_onnxruntime,
            one_row_p95_us=self.manifest.footprint.one_row_p95_us,
            manifest_sha256=hashlib.sha256(self.manifest.to_json()).hexdigest(),
        )


def scaler(scale: float, *, opset: int = OPSET, padding_bytes: int = 0) -> bytes:
    """Return the ONNX file of y = scale * (a + b); `padding_bytes` of ballast."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "scale"], ["y"]),
    ]
    weights = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale]),
    ]
    if padding_bytes:
        noise = np.random.default_rng(0).bytes(padding_bytes)
        weights.append(
            helper.make_tensor("p", TensorProto.UINT8, [padding_bytes], noise, raw=True)
        )
    graph = helper.make_graph(
        nodes,
        "scaler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        weights,
    )
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)]
    )
    if opset == OPSET:
        onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@cache
def made(  # noqa: PLR0913 - each knob breaks one thing
    *,
    version: str = "1",
    flavor: str = "fp32",
    peak_rss_bytes: int = 60 * 2**20,
    scale: float = 2.0,
    model: str = "wine",
    golden_scale: float | None = None,
    opset: int = OPSET,
    padding_bytes: int = 0,
    with_golden: bool = True,
    types: tuple[str, str] = ("double", "double"),
) -> Made:
    """Return a bundle; with another `golden_scale` it cannot pass its proof.

    `types` are those of its columns in the signature.
    """
    onnx_file = scaler(scale, opset=opset, padding_bytes=padding_bytes)
    a = np.array([1.0, -2.0, 3.5])
    b = np.array([0.5, 4.0, -1.0])
    told = (golden_scale if golden_scale is not None else scale) * (a + b)
    outputs = {"y": told.astype(np.float32).reshape(-1, 1)}
    members = {MODEL_NAME: onnx_file}
    if with_golden:
        known = Golden(inputs={"a": a, "b": b}, outputs=outputs)
        members[GOLDEN_NAME] = golden.encode(known)
    manifest = Manifest(
        model=ModelIdentity(
            name=model, version=version, run_id="run", source_sha256="0" * 64
        ),
        flavor=flavor,
        files={name: bundle.describe(content) for name, content in members.items()},
        runtime=RuntimeNeeds(opsets={"": opset}, ir_version=8, min_onnxruntime="1.16"),
        footprint=Footprint(
            model_bytes=len(onnx_file),
            peak_rss_bytes=peak_rss_bytes,
            load_us=1000,
            one_row_p50_us=20,
            one_row_p95_us=30,
            measured_on="a test",
        ),
        signature=Signature(
            inputs=[
                {"name": name, "type": kind, "required": True}
                for name, kind in zip(COLUMNS, types, strict=True)
            ]
        ),
        binding=Binding(
            inputs=(
                TensorInput(name="x", dtype="float32", columns=COLUMNS, shape=(-1, 2)),
            ),
            outputs=(
                TensorOutput(
                    name="",
                    tensor="y",
                    role=OutputRole.PREDICTION,
                    dtype="float64",
                    shape=(-1,),
                ),
            ),
        ),
        tolerance=Tolerance(rtol=1e-5, atol=1e-6),
    )
    return Made(manifest=manifest, data=bundle.pack(manifest, members))


def repacked(
    what: Made, onnx_file: bytes, golden_file: bytes | None = None, **changes: object
) -> Made:
    """The same bundle with another model inside, properly described and packed."""
    (_, members) = bundle.read_members(io.BytesIO(what.data))
    members[MODEL_NAME] = onnx_file
    if golden_file is not None:
        members[GOLDEN_NAME] = golden_file
    files = {name: bundle.describe(content) for name, content in members.items()}
    manifest: Manifest = replace(what.manifest, files=files, **changes)  # type: ignore[arg-type]  # Manifest's own fields
    return Made(manifest=manifest, data=bundle.pack(manifest, members))


def lighter(entry: BundleEntry, **changes: object) -> BundleEntry:
    """Return an entry with some fields changed."""
    return replace(entry, **changes)  # type: ignore[arg-type]  # BundleEntry's own fields


def stored(store: Store, what: Made) -> str:
    """Put a bundle into a store, as an updater does; return its digest."""
    path = store.incoming / what.sha256
    path.write_bytes(what.data)
    bundles.add(store, what.sha256, path)
    path.unlink()
    return what.sha256
