"""Damaged and hostile model files on the command line: a sentence, an exit code, no output.

The model is read in a child process, as always.
"""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from edgekit.cli import main
from tests.converters.test_onnx_model import external

pytestmark = pytest.mark.slow  # each starts a process that imports its framework

CANNOT_BE_CONVERTED = 5


class Springs:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def pickled(folder: Path) -> Path:
    content = pickle.dumps(Springs(folder / "sprung"))
    return archive(folder / "model.pth", **{"m/data.pkl": content})


def program(folder: Path) -> Path:
    graph = {"nodes": [{"target": "torch.hub.load", "inputs": []}]}
    members = {
        "m/archive_format": b"pt2",
        "m/models/model.json": json.dumps(graph).encode(),
    }
    return archive(folder / "model.pt2", **members)


def bomb(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        return archive(folder / name, **{"config.json": bytes(100 * 2**20)})

    return write


def file(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return write


def traversal(folder: Path) -> Path:
    return external(folder, location="../../secret")


def bottomless(folder: Path) -> Path:
    """Weights of a terabyte, declared and not there."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    tensor.dims[:] = [2**38]
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [rows], [rows], [tensor])
    graph.output[0].name = "y"
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (file("model.onnx", b"garbage"), "not an ONNX"),
        (file("model.onnx", b""), "the file is empty, a model is expected"),
        (file("model.bin", b"garbage"), "not a model file that edgekit knows"),
        (file("model.tflite", struct.pack("<I4s", 28, b"TFL3")), "LiteRT cannot load it"),
        (file("model.h5", b"\x89HDF\r\n\x1a\n" + bytes(99)), "a damaged Keras file"),
        (bomb("model.keras"), "this looks like a zip bomb"),
        (bomb("model.pt2"), "this looks like a zip bomb"),
        (pickled, "--trust-pickle"),
        (program, "a call of torch.hub.load: loading it would run code"),
        (traversal, "outside the model's folder"),
        (bottomless, "declares 274877906944, 1099511627776 bytes; 4 are in the file"),
    ],
)
def test_a_hostile_file_is_refused_and_nothing_is_written(
    write: Callable[[Path], Path], sentence: str, tmp_path: Path
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    path = write(home)
    rows = home / "rows.npy"
    np.save(rows, np.zeros((3, 4), dtype=np.float32))
    before = {entry: entry.read_bytes() for entry in home.iterdir()}
    arguments = ["convert", str(path), "--samples", str(rows), "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == CANNOT_BE_CONVERTED, result.output
    assert sentence in " ".join(result.stderr.split())
    assert not out.exists()
    assert {entry: entry.read_bytes() for entry in home.iterdir()} == before
