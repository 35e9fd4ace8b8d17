"""Flavors answer on ARM as on x86-64: integers and trees bit by bit, floats nearly."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, Built, Source
from edgekit_converters.passes import clean
from edgekit_converters.passes.quantised import EXACT_OPTION
from tests.arm64.boards import Board
from tests.converters import networks, searches

Feeds = Mapping[str, Array]
pytestmark = [pytest.mark.slow, pytest.mark.arm64]

# As agents do it, in few words; the argument is a folder with a folder for each flavor.
_ASK = """
import json, sys
import numpy as np
from pathlib import Path
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
for folder in Path(sys.argv[1]).iterdir():
    options = json.loads((folder / "options.json").read_text())
    needs = RuntimeNeeds(opsets={}, ir_version=8, min_onnxruntime="1.22",
                         session_options=options)
    session = Session.load(folder / "model.onnx", needs)
    np.savez(folder / "answers.npz", **session.run(dict(np.load(folder / "feeds.npz"))))
"""


def network(flavor: str) -> tuple[ModelProto, Feeds]:
    feeds = {"image": networks.images(64)}
    source, _ = searches.searching(networks.classifier(), feeds, max_drop=0.1)
    return _built(flavor, source), feeds


def forest(flavor: str) -> tuple[ModelProto, Feeds]:
    feeds = {"X": np.random.default_rng(3).normal(size=(200, 4)).astype(np.float32)}
    return _built(flavor, Source(model=clean(_forest()), calibration={})), feeds


def _forest() -> ModelProto:
    from skl2onnx import to_onnx  # noqa: PLC0415 - heavy
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - heavy

    rows = np.random.default_rng(2).normal(size=(300, 4)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)
    trained = RandomForestClassifier(20, random_state=0).fit(rows, labels)
    made: ModelProto = to_onnx(trained, rows[:1], options={"zipmap": False})
    return made


def _built(flavor: str, source: Source) -> ModelProto:
    built = FLAVORS[flavor](source)
    assert isinstance(built, Built)
    return clean(built.model)


CASES: Mapping[str, tuple[Callable[[str], tuple[ModelProto, Feeds]], float]] = {
    "fp32-trees": (forest, 0.0),
    "fp32-trees-v1": (forest, 0.0),
    "fp32": (network, 1e-6),
    "int8": (network, 1e-6),
    "int8-static": (network, 0.0),
}


def test_answers_are_those_of_x86(board: Board, tmp_path: Path) -> None:
    here: dict[str, Feeds] = {}
    for flavor, (make, _) in CASES.items():
        model, feeds = make(flavor)
        options = dict(EXACT_OPTION) if flavor == "int8-static" else {}
        folder = tmp_path / flavor
        folder.mkdir()
        (folder / "model.onnx").write_bytes(encode(model))
        (folder / "options.json").write_text(json.dumps(options), "ascii")
        np.savez(folder / "feeds.npz", allow_pickle=False, **feeds)
        needs = replace(searches.NO_NEEDS, session_options=options)
        here[flavor] = Session.load(folder / "model.onnx", needs).run(feeds)
    board.run(_ASK, str(tmp_path))
    for flavor, (_, tolerance) in CASES.items():
        there = dict(np.load(tmp_path / flavor / "answers.npz"))
        assert there.keys() == here[flavor].keys()
        for name, expected in here[flavor].items():
            np.testing.assert_allclose(there[name], expected, rtol=0, atol=tolerance)
