# noqa: INP001 - a script, not a package
"""What a new version of a model costs a device that holds the one before.

    python -m benchmarks.deltas

Trains a small network and a forest on scikit-learn's digits, changes them as a new version
would, and compares the packed model, edgekit's patch and, where the package is installed,
bsdiff4. Bytes are those of the model alone; every patch is applied and checked.
"""

import importlib
import io
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier

from edgekit import bundle, delta
from edgekit.manifest import MODEL_NAME, Member

ROWS = 1_500
Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
Tensors = tuple[NDArray[np.generic], NDArray[np.float32] | None, NDArray[np.float32]]


def main() -> None:
    """Print one line for each change."""
    for name, old, new in _changes():
        packed = bundle.wire_bytes(new)
        began = time.perf_counter()
        patch = delta.make({MODEL_NAME: old}, {MODEL_NAME: new})
        made_s = time.perf_counter() - began
        peak_mb = _apply(patch, old, new)
        other = _bsdiff(old, new)
        sys.stdout.write(
            f"{name:38} packed {packed:>9,}  patch {len(patch):>9,}"
            f" ({len(patch) / packed:.2f}, made in {made_s:.1f} s, applied in"
            f" {peak_mb:.1f} MB)  bsdiff4 {other}\n"
        )
        sys.stdout.flush()


def _changes() -> Iterator[tuple[str, bytes, bytes]]:
    digits, labels = load_digits(return_X_y=True)
    digits = digits / 16
    network = _trained(digits, labels, epochs=6)
    noise = np.random.default_rng(1)
    last = [*network[:-1], _moved(network[-1], noise)]
    two = [*network[:-2], _moved(network[-2], noise), last[-1]]
    yield "nothing", _onnx(network), _onnx(network)
    yield "last layer of four", _onnx(network), _onnx(last)
    yield "last two layers", _onnx(network), _onnx(two)
    yield "int8, ranges 100 % -> 99.99 %", _int8(network, 100), _int8(network, 99.99)
    yield "int8, ranges 99.9 % -> 99.5 %", _int8(network, 99.9), _int8(network, 99.5)
    further = _trained(digits, labels, epochs=7)
    yield "all layers, one more epoch", _onnx(network), _onnx(further)
    forest = RandomForestClassifier(60, random_state=0, warm_start=True)
    before = _forest(forest.fit(digits[:ROWS], labels[:ROWS]), digits)
    forest.n_estimators = 66
    yield (
        "forest, six trees more",
        before,
        _forest(forest.fit(digits[:ROWS], labels[:ROWS]), digits),
    )
    again = RandomForestClassifier(60, random_state=0).fit(digits, labels)
    yield "forest, retrained with 20 % more rows", before, _forest(again, digits)


def _apply(patch: bytes, old: bytes, new: bytes) -> float:
    """Apply a patch block by block; return the peak of Python's memory in MB."""
    position, stream = 0, io.BytesIO(patch)
    tracemalloc.start()
    blocks = delta.apply(
        stream, _files(old), _files(new), lambda _n, at, length: old[at : at + length]
    )
    for _, block in blocks:
        if new[position : position + len(block)] != block:
            raise SystemExit("the patch yields something else")
        position += len(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def _bsdiff(old: bytes, new: bytes) -> str:
    try:
        module = importlib.import_module("bsdiff4")
    except ImportError:
        return "is not installed"
    return f"{len(module.diff(old, new)):,}"


def _files(content: bytes) -> dict[str, Member]:
    return {MODEL_NAME: bundle.describe(content)}


def _trained(digits: NDArray[np.float64], labels: object, epochs: int) -> list[Layer]:
    network = MLPClassifier((1024, 1024, 512), max_iter=epochs, random_state=0)
    network.fit(digits[:ROWS], labels[:ROWS])  # type: ignore[index]  # an array
    return [
        (weights.astype(np.float32), bias.astype(np.float32))
        for weights, bias in zip(network.coefs_, network.intercepts_, strict=True)
    ]


def _moved(layer: Layer, noise: np.random.Generator) -> Layer:
    weights, bias = layer
    return weights + noise.normal(0, 0.01, weights.shape).astype(np.float32), bias


def _onnx(layers: list[Layer]) -> bytes:
    return _model([(weights, None, bias) for weights, bias in layers])


def _int8(layers: list[Layer], percent: float) -> bytes:
    tensors: list[Tensors] = []
    for weights, bias in layers:
        scale = (np.percentile(np.abs(weights), percent, axis=0) / 127).astype(np.float32)
        rounded = np.clip(np.round(weights / scale), -127, 127).astype(np.int8)
        tensors.append((rounded, scale, bias))
    return _model(tensors)


def _model(tensors: Sequence[Tensors]) -> bytes:
    nodes, initializers, value = [], [], "x"
    for n, (weights, scale, bias) in enumerate(tensors):
        initializers.append(numpy_helper.from_array(weights, f"w{n}"))
        initializers.append(numpy_helper.from_array(bias, f"b{n}"))
        name = f"w{n}"
        if scale is not None:
            initializers.append(numpy_helper.from_array(scale, f"s{n}"))
            nodes.append(helper.make_node("Cast", [name], [f"c{n}"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Mul", [f"c{n}", f"s{n}"], [f"m{n}"]))
            name = f"m{n}"
        nodes.append(helper.make_node("Gemm", [value, name, f"b{n}"], [f"h{n}"]))
        nodes.append(helper.make_node("Relu", [f"h{n}"], [f"r{n}"]))
        value = f"r{n}"
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", 10])],
        initializers,
    )
    opset = [helper.make_opsetid("", 17)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def _forest(forest: RandomForestClassifier, digits: NDArray[np.float64]) -> bytes:
    sample = digits[:1].astype(np.float32)
    return bytes(to_onnx(forest, sample, options={"zipmap": False}).SerializeToString())


if __name__ == "__main__":
    main()
