# noqa: INP001 - a script, not a package
"""How far the memory estimate is off: from the graph alone, against measured peaks.

    python -m benchmarks.memory [--json FILE] [--only NAME]

Builds networks and forests, most of which the estimate's constants were not fitted to,
in several flavors, loads and asks each in a process of its own, and prints a Markdown
table: what the process took before the session was made, its peak resident size while
loading and while answering one row at a time, the estimate of the peak, and its error of
the whole and of what the model adds. Needs the converters with [sklearn]; takes two
minutes on a quiet machine, and its figures do not mind a busy one.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.table import Array
from edgekit_converters.encoding import decode, encode
from edgekit_converters.flavors import FLAVORS, DoesNotApply, Source
from edgekit_converters.passes import clean
from edgekit_converters.verdict.measure import measure

ROWS = 16
NETWORK_FLAVORS = ("fp32", "fp16", "int8")
TREE_FLAVORS = ("fp32", "fp32-trees")
_MB = 2**20
_COLUMNS = 30
_HEADING = """\
| model | flavor | file kB | floor MB | loaded MB | peak MB | estimate MB | error | of \
what the model adds |
|---|---|---|---|---|---|---|---|---|"""
_RNG = np.random.default_rng(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One flavor of one model. Sizes are bytes; the floor is measured too."""

    model: str
    flavor: str
    file: int
    floor: int
    load_peak: int
    peak: int
    estimate: int

    @property
    def error(self) -> float:
        """The estimate's error, as a share of the peak."""
        return self.estimate / self.peak - 1

    @property
    def error_added(self) -> float:
        """The same of what the model adds to the floor."""
        return (self.estimate - self.floor) / (self.peak - self.floor) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model, rows for it, and the flavors to measure."""

    make: Callable[[], ModelProto]
    rows: Callable[[], dict[str, Array]]
    flavors: Sequence[str] = NETWORK_FLAVORS


class Net:
    """A graph in the making; every method adds a layer after the last."""

    def __init__(self, *shape: int) -> None:
        self._shape = shape
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._last = "x"

    def layer(self, operator: str, *constants: Array, **attributes: Any) -> "Net":  # noqa: ANN401 - ONNX's own
        """Add an operator that reads the last value, then the constants."""
        names = [f"c{len(self._constants) + n}" for n in range(len(constants))]
        self._constants.update(zip(names, constants, strict=True))
        return self.join(operator, self._last, *names, **attributes)

    def join(self, operator: str, *inputs: str, **attributes: Any) -> "Net":  # noqa: ANN401 - as above
        """Add an operator that reads the named values."""
        output = f"v{len(self._nodes)}"
        node = helper.make_node(operator, inputs, [output], **attributes)
        self._nodes.append(node)
        self._last = output
        return self

    @property
    def last(self) -> str:
        """The name of the last value."""
        return self._last

    def dense(self, before: int, after: int) -> "Net":
        """Add a Gemm and a Relu."""
        return self.layer("Gemm", weight(before, after), weight(after)).layer("Relu")

    def conv(self, before: int, after: int, side: int, *, group: int = 1) -> "Net":
        """Add a padded convolution and a Relu."""
        kernel = weight(after, before // group, side, side)
        pads = [side // 2] * 4
        return self.layer("Conv", kernel, weight(after), pads=pads, group=group).layer(
            "Relu"
        )

    def done(self) -> ModelProto:
        """Return the model, its output the last value."""
        self._nodes[-1].output[0] = "y"
        for node in self._nodes:
            node.input[:] = ["y" if name == self._last else name for name in node.input]
        inputs = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *self._shape])
        ]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        graph = helper.make_graph(
            self._nodes,
            "net",
            inputs,
            outputs,
            [numpy_helper.from_array(v, name) for name, v in self._constants.items()],
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        )


def weight(*shape: int) -> Array:
    """Return random float32 weights."""
    return (_RNG.standard_normal(shape) * 0.05).astype(np.float32)


def rows(*shape: int) -> dict[str, Array]:
    """Return ROWS random rows for input x."""
    return {"x": _RNG.standard_normal((ROWS, *shape)).astype(np.float32)}


def autoencoder() -> ModelProto:
    """An anomaly detector of MLPerf Tiny's shape: 640-128-...-8-...-640."""
    net, sizes = Net(640), [640, *[128] * 4, 8, *[128] * 4, 640]
    for before, after in pairwise(sizes):
        net.dense(before, after)
    return net.done()


def keyword_spotter() -> ModelProto:
    """A depthwise separable network on 49 x 10 features."""
    net = Net(1, 49, 10).conv(1, 64, 5)
    for _ in range(4):
        net.conv(64, 64, 3, group=64).conv(64, 64, 1)
    return net.layer("GlobalAveragePool").layer("Flatten").dense(64, 12).done()


def residual() -> ModelProto:
    """A residual network on 64 x 64 images, 16 to 128 channels."""
    net = Net(3, 64, 64).conv(3, 16, 3)
    for before, after in ((16, 32), (32, 64), (64, 128)):
        net.conv(before, after, 3)
        skipped = net.last
        net.conv(after, after, 3).conv(after, after, 3)
        net.join("Add", net.last, skipped).layer(
            "MaxPool", kernel_shape=[2, 2], strides=[2, 2]
        )
    return net.layer("GlobalAveragePool").layer("Flatten").dense(128, 10).done()


def wide() -> ModelProto:
    """A few large dense layers, 13 million weights."""
    return Net(300).dense(300, 2500).dense(2500, 2500).dense(2500, 2300).done()


def segmenter() -> ModelProto:
    """Little weight and large values: 160 x 160 at 24 channels throughout."""
    net = Net(3, 160, 160).conv(3, 24, 3)
    for _ in range(4):
        net.conv(24, 24, 3)
    return net.conv(24, 1, 1).done()


def recurrent() -> ModelProto:
    """Two LSTM layers of 384 units over 50 steps."""
    net = Net(50, 64).layer("Transpose", perm=[1, 0, 2])
    for before in (64, 384):
        net.layer(
            "LSTM",
            weight(1, 4 * 384, before),
            weight(1, 4 * 384, 384),
            weight(1, 8 * 384),
            hidden_size=384,
        ).layer("Squeeze", np.array([1], np.int64))
    return net.layer("ReduceMean", axes=[0], keepdims=0).dense(384, 5).done()


def attention() -> ModelProto:
    """Two blocks of a transformer's encoder, 64 steps of 256 values."""
    net, size = Net(64, 256), 256
    for _ in range(2):
        skipped = net.last
        query = net.layer("MatMul", weight(size, size)).last
        key = net.join("Transpose", skipped, perm=[0, 2, 1]).last
        weights = net.join("MatMul", query, key).layer("Softmax").last
        net.join("MatMul", weights, skipped).join("Add", net.last, skipped)
        inner = net.last
        net.layer("MatMul", weight(size, 1024)).layer("Relu")
        net.layer("MatMul", weight(1024, size)).join("Add", net.last, inner)
    return net.layer("ReduceMean", axes=[1], keepdims=0).dense(size, 8).done()


def forest(model: Any) -> ModelProto:  # noqa: ANN401 - scikit-learn has no types
    """Train an estimator and return skl2onnx's graph of it."""
    import skl2onnx  # noqa: PLC0415 - only where forests are asked for
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415 - as above

    given = _RNG.standard_normal((3_000, _COLUMNS)).astype(np.float32)
    model.fit(given, (given[:, 0] * given[:, 1] + given[:, 2] > 0).astype(np.int64))
    made = skl2onnx.convert_sklearn(
        model,
        initial_types=[("x", FloatTensorType([None, _COLUMNS]))],
        target_opset={"": 17, "ai.onnx.ml": 3},
        options={"zipmap": False},
    )
    return decode(made.SerializeToString())


def cases() -> Mapping[str, Case]:
    """Return what is measured, by name."""
    from sklearn import ensemble, linear_model  # noqa: PLC0415 - as in `forest`

    def trees(make: Callable[[], Any], *flavors: str) -> Case:
        return Case(
            make=lambda: forest(make()),
            rows=lambda: rows(_COLUMNS),
            flavors=flavors or TREE_FLAVORS,
        )

    return {
        "autoencoder, 640 wide": Case(make=autoencoder, rows=lambda: rows(640)),
        "keyword spotter": Case(make=keyword_spotter, rows=lambda: rows(1, 49, 10)),
        "residual network": Case(make=residual, rows=lambda: rows(3, 64, 64)),
        "dense, 13 million": Case(make=wide, rows=lambda: rows(300)),
        "segmenter, 160 x 160": Case(make=segmenter, rows=lambda: rows(3, 160, 160)),
        "LSTM, 2 layers": Case(make=recurrent, rows=lambda: rows(50, 64)),
        "transformer, 2 blocks": Case(make=attention, rows=lambda: rows(64, 256)),
        "logistic regression": trees(linear_model.LogisticRegression, "fp32"),
        "random forest, 60": trees(lambda: ensemble.RandomForestClassifier(60)),
        "extra trees, 150": trees(lambda: ensemble.ExtraTreesClassifier(150)),
        "gradient boosting, 300": trees(
            lambda: ensemble.GradientBoostingClassifier(n_estimators=300)
        ),
    }


def lines(case: Case, name: str) -> Iterator[Line]:
    """Measure every flavor of a model."""
    faithful, fed = clean(case.make()), case.rows()
    for flavor in case.flavors:
        built = FLAVORS[flavor](Source(model=faithful, calibration=fed))
        if isinstance(built, DoesNotApply):
            continue
        model = encode(clean(built.model))
        cost = measure(model, session_options=built.session_options, feeds=fed).cost
        yield Line(
            model=name,
            flavor=flavor,
            file=len(model),
            floor=cost.runtime_floor_bytes,
            load_peak=cost.first_load_rss_bytes,
            peak=cost.peak_rss_bytes,
            estimate=cost.memory_estimate_bytes,
        )


def main() -> None:
    """Print the table, and what the errors come to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="models whose name holds this text")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    print(_HEADING)  # noqa: T201 - a benchmark's result
    found: list[Line] = []
    for name, case in cases().items():
        if options.only not in name:
            continue
        for line in lines(case, name):
            found.append(line)
            print(_row(line), flush=True)  # noqa: T201 - as above
    errors = sorted(abs(line.error) for line in found)
    added = sorted(abs(line.error_added) for line in found)
    print(  # noqa: T201 - as above
        f"\nError of the peak: median {statistics.median(errors):.1%}, worst"
        f" {errors[-1]:.1%}; of what the model adds: median"
        f" {statistics.median(added):.1%}, worst {added[-1]:.1%}."
    )
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in found], indent=1))


def _row(line: Line) -> str:
    sizes = (line.floor, line.load_peak, line.peak, line.estimate)
    shown = " | ".join(f"{size / _MB:.1f}" for size in sizes)
    return (
        f"| {line.model} | {line.flavor} | {line.file / 1000:,.0f} | {shown}"
        f" | {line.error:+.1%} | {line.error_added:+.1%} |"
    )


if __name__ == "__main__":
    main()
