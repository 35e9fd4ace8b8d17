# noqa: INP001 - a script's part, not a package
"""The networks that benchmarks.networks compares forms of: models, rows, metrics.

Small ones are trained here on scikit-learn's digits; those of MLPerf Tiny are read from a
folder that the user names. Half of each folder's rows, or rows kept from training, are
never used for a choice: the metric is told for those and for all.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgekit.conversion import ConversionRequest
from edgekit.manifest import ModelIdentity
from edgekit.table import Array
from edgekit_converters.encoding import decode
from edgekit_converters.native.extract import extract

RESAMPLES = 1_000
_TRAINED_ON = 1_000  # of the 1,797 digits
_EPOCHS = 60
_WINDOW = 5  # slices of a spectrogram that ad01 sees at once


@dataclass(frozen=True, kw_only=True)
class Case:
    """A float network and its rows.

    `statistic` makes one row per unit (an image, a clip) of the outputs, `value` the
    metric of some units. `chosen` are the units that choices may be made on, `per_unit`
    how many rows of the feed make a unit. `reference` is a file of LiteRT's.
    """

    name: str
    model: ModelProto
    rows: Array
    truth: Array
    metric: str
    statistic: Callable[[Array], Array]
    value: Callable[[Array, Array], float]
    chosen: Array
    per_unit: int = 1
    reference: Path | None = None

    @property
    def input(self) -> str:
        """Return the name of the only input."""
        return str(self.model.graph.input[0].name)

    def feed(self, units: Array) -> dict[str, Array]:
        """Return the rows of some units."""
        grouped = self.rows.reshape(-1, self.per_unit, *self.rows.shape[1:])
        return {self.input: grouped[units].reshape(-1, *self.rows.shape[1:])}

    def score(self, outputs: Array, units: Array) -> float:
        """Return the metric of outputs of these units."""
        return self.value(self.statistic(outputs), self.truth[units])

    def interval(self, outputs: Array) -> tuple[float, float]:
        """Return the metric's 95 % interval over all units: bootstrap, seed 0."""
        rng = np.random.default_rng(0)
        units = self.statistic(outputs)
        found = []
        for _ in range(RESAMPLES):
            drawn = rng.integers(0, len(units), len(units))
            found.append(self.value(units[drawn], self.truth[drawn]))
        low, high = np.nanpercentile(found, [2.5, 97.5])
        return float(low), float(high)


def tiny(folder: Path) -> list[Case]:
    """Return the cases of a folder with ad01/ and kws01/ of MLPerf Tiny."""
    return [_kws01(folder / "kws01"), _ad01(folder / "ad01")]


def digits() -> list[Case]:
    """Return small networks trained on digits; without torch only a perceptron."""
    try:
        import torch  # noqa: F401, PLC0415 - is it there?
    except ImportError:
        return [_perceptron()]
    return [_perceptron(), _convolutions(), _recurrent()]


def _kws01(folder: Path) -> Case:
    held = np.load(folder / "kws01.npz")
    rows = (held["x"].astype(np.float32) - 83) * np.float32(0.5847029089927673)
    return Case(
        name="kws01",
        model=_converted(folder / "kws_ref_model", rows[:8, ..., None]),
        rows=rows[..., None],
        truth=held["y"].astype(np.int64),
        metric="top-1",
        statistic=lambda outputs: outputs,
        value=_top1,
        chosen=np.arange(len(rows)) % 2 == 0,
        reference=folder / "kws_ref_model.tflite",
    )


def _ad01(folder: Path) -> Case:
    held = np.load(folder / "ad01.npz")
    clips = held["x"]
    starts = np.arange(clips.shape[1] - _WINDOW + 1)[:, None] + np.arange(_WINDOW)
    windows = clips[:, starts].reshape(len(clips), len(starts), -1)
    rows = windows.reshape(-1, windows.shape[-1])

    def error(outputs: Array) -> Array:
        size = outputs.shape[0] // windows.shape[1]
        lost = (outputs.reshape(size, windows.shape[1], -1)).mean(axis=(1, 2))
        return np.asarray(lost)

    return Case(
        name="ad01",
        model=_converted(folder / "ad01.h5", rows[:8]),
        rows=rows,
        truth=held["y"].astype(np.int64),
        metric="AUC",
        statistic=error,
        value=_auc,
        chosen=np.arange(len(clips)) % 2 == 0,
        per_unit=windows.shape[1],
        reference=folder / "ad01_int8.tflite",
    )


def _converted(path: Path, rows: Array) -> ModelProto:
    with tempfile.TemporaryDirectory(prefix="edgekit-networks-") as name:
        np.save(Path(name) / "rows.npy", rows)
        request = ConversionRequest(
            model_folder=path,
            identity=ModelIdentity(
                name=path.stem, version="1", run_id="", source_sha256=""
            ),
            boards=(),
            out=Path(name) / "out",
            samples=Path(name) / "rows.npy",
        )
        return decode(extract(request, Path(name), lambda _: None).model)


def _top1(outputs: Array, truth: Array) -> float:
    return float((outputs.argmax(axis=1) == truth).mean())


def _auc(scores: Array, truth: Array) -> float:
    """Return the share of pairs, one of each class, that the scores order rightly."""
    positive, negative = scores[truth == 1], scores[truth == 0]
    if not len(positive) or not len(negative):
        return float("nan")
    above = (positive[:, None] > negative).mean()
    return float(above + (positive[:, None] == negative).mean() / 2)


def _images() -> tuple[Array, Array]:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - the children need none

    held = load_digits()
    order = np.random.default_rng(0).permutation(len(held.target))
    images = (held.images[order] / 8 - 1).astype(np.float32)
    return images, held.target[order].astype(np.int64)


def _case(name: str, model: ModelProto, rows: Array, truth: Array) -> Case:
    return Case(
        name=name,
        model=model,
        rows=rows,
        truth=truth,
        metric="top-1",
        statistic=lambda outputs: outputs,
        value=_top1,
        chosen=np.arange(len(rows)) < _TRAINED_ON,
    )


def _perceptron() -> Case:
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415 - as above

    images, truth = _images()
    rows = images.reshape(len(images), -1)
    trained = MLPClassifier((128, 64), random_state=0, max_iter=80, tol=1e-3)
    trained.fit(rows[:_TRAINED_ON], truth[:_TRAINED_ON])
    nodes: list[NodeProto] = []
    constants: dict[str, Array] = {}
    value = "x"
    for number, (weight, bias) in enumerate(
        zip(trained.coefs_, trained.intercepts_, strict=True)
    ):
        constants |= {f"weight{number}": weight, f"bias{number}": bias}
        inputs = [value, f"weight{number}", f"bias{number}"]
        nodes.append(helper.make_node("Gemm", inputs, [f"sum{number}"]))
        value = f"sum{number}"
        if number + 1 < len(trained.coefs_):
            nodes.append(helper.make_node("Relu", [value], [f"layer{number}"]))
            value = f"layer{number}"
    nodes.append(helper.make_node("Softmax", [value], ["y"]))
    model = _model(nodes, constants, [rows.shape[1]])
    return _case("digits, perceptron", model, rows, truth)


def _convolutions() -> Case:
    from torch import nn  # noqa: PLC0415 - as above

    layers: list[nn.Module] = []
    for before, after in ((1, 24), (24, 32), (32, 48)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    network = nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10)
    )
    images, truth = _images()
    state = _trained(network, images[:, None], truth)
    nodes, constants, value = [], {}, "x"
    for number in range(3):
        at, norm = 3 * number, 3 * number + 1
        constants[f"kernel{number}"] = state[f"{at}.weight"]
        conv = helper.make_node("Conv", [value, f"kernel{number}"], [f"conv{number}"])
        conv.attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
        parts = [f"{norm}.{p}" for p in ("weight", "bias", "running_mean", "running_var")]
        constants |= {part: state[part] for part in parts}
        inputs = [f"conv{number}", *parts]
        nodes += [conv, helper.make_node("BatchNormalization", inputs, [f"norm{number}"])]
        value = f"layer{number}"
        nodes.append(helper.make_node("Relu", [f"norm{number}"], [value]))
    constants |= {"head": state["11.weight"].T, "shift": state["11.bias"]}
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["product"]),
        helper.make_node("Add", ["product", "shift"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["y"]),
    ]
    model = _model(nodes, constants, [1, 8, 8])
    return _case("digits, convolutions", model, images[:, None], truth)


def _recurrent() -> Case:
    import torch  # noqa: PLC0415 - as above
    from torch import nn  # noqa: PLC0415 - as above

    class Rows(nn.Module):  # type: ignore[misc]  # torch's own classes are Any here
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(8, 48, batch_first=True)
            self.head = nn.Linear(48, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.head(self.cell(images)[1][0][0])
            return answer

    images, truth = _images()
    state = _trained(Rows(), images, truth)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    gates = [np.split(state[f"cell.{name}"], 4) for name in names]
    w, r, b1, b2 = (np.concatenate([g[0], g[3], g[1], g[2]]) for g in gates)
    constants = {"w": w[None], "r": r[None], "b": np.concatenate([b1, b2])[None]}
    constants |= {"head": state["head.weight"].T, "shift": state["head.bias"]}
    cell = helper.make_node("LSTM", ["steps", "w", "r", "b"], ["", "last"], hidden_size=48)
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        cell,
        helper.make_node("Squeeze", ["last", "first"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "head", "shift"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["y"]),
    ]
    model = _model(nodes, constants, [8, 8])
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    return _case("digits, LSTM", model, images, truth)


def _trained(network: object, images: Array, truth: Array) -> Mapping[str, Array]:
    import torch  # noqa: PLC0415 - as above

    torch.manual_seed(0)
    torch.set_num_threads(1)
    assert isinstance(network, torch.nn.Module)  # noqa: S101 - for the type checker
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    rows = torch.from_numpy(images[:_TRAINED_ON])
    wanted = torch.from_numpy(truth[:_TRAINED_ON])
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(_EPOCHS):
        for batch in torch.randperm(_TRAINED_ON).split(100):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(
                network(rows[batch]), wanted[batch]
            ).backward()
            optimiser.step()
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _model(
    nodes: list[NodeProto], constants: Mapping[str, Array], shape: list[int]
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 10])],
        [
            numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
            for name, value in constants.items()
        ],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)
