"""A whole conversion on boards' terms: proof, memory and time in what comes out."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import board, runtime
from edgekit.board import Board, Calibration
from edgekit.conversion import Conversion, ConversionRequest, RuntimeProof
from edgekit.errors import BoardError
from edgekit.manifest import ModelIdentity
from edgekit_converters.conversion import convert_extraction
from edgekit_converters.encoding import decode
from edgekit_converters.needs.memory import estimate
from tests.converters import extractions, networks

pytestmark = pytest.mark.slow

_MB = 2**20
HERE = ".".join(runtime.version().split(".")[:2])
IDENTITY = ModelIdentity(name="signs", version="3", run_id="f00d", source_sha256="ab" * 32)
GATEWAY = replace(board.load("gateway-256mb"), onnxruntime=HERE)
CALIBRATED = replace(
    board.load("raspberry-pi-4"),
    onnxruntime=HERE,
    latency=Calibration(factor=6, overhead_us=900, low=5, high=7, pairs=8, devices=2),
)


def converted(out: Path, *boards: Board) -> Conversion:
    request = ConversionRequest(
        model_folder=out.parent / "no-such-model",
        identity=IDENTITY,
        boards=boards,
        out=out,
        prove_runtime=RuntimeProof.NEVER,
    )
    return convert_extraction(request, extractions.of_classifier(), lambda _: None)


@pytest.fixture(scope="module")
def conversion(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    out = tmp_path_factory.mktemp("terms") / "flavors"
    return converted(out, GATEWAY, CALIBRATED)


def test_what_was_proven_for_each_board_is_noted(conversion: Conversion) -> None:
    for name in (GATEWAY.name, CALIBRATED.name):
        proven = f"{name}: fp32 loaded and answered the golden rows under onnxruntime"
        assert any(note.startswith(proven) for note in conversion.notes)


def test_the_manifest_has_every_figure_of_memory(conversion: Conversion) -> None:
    (one,) = conversion.candidates
    assert one.manifest is not None
    told = one.manifest.footprint
    assert 30 * _MB < told.runtime_floor_bytes < told.load_peak_rss_bytes
    assert told.load_peak_rss_bytes <= told.peak_rss_bytes
    assert one.folder is not None
    graph = decode((one.folder / "model.onnx").read_bytes())
    shapes = {"image": (1, 1, networks.SIDE, networks.SIDE)}
    assert told.estimated_peak_bytes == estimate(graph, shapes=shapes).peak


def test_each_board_has_a_time_estimated_or_calibrated(conversion: Conversion) -> None:
    (one,) = conversion.candidates
    estimated, calibrated = one.latencies
    assert (estimated.board, estimated.calibrated) == (GATEWAY.name, False)
    assert estimated.one_row_p50_us == 20 * one.one_row_p50_us  # 2 over a speed of 0.1
    assert (calibrated.board, calibrated.calibrated) == (CALIBRATED.name, True)
    assert calibrated.one_row_p50_us == 900 + 6 * one.one_row_p50_us


def test_a_board_with_too_little_memory_gets_nothing_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    stingy = replace(GATEWAY, model_ram_mb=20)
    with pytest.raises(BoardError, match="board gateway-256mb: no flavor fits"):
        converted(tmp_path / "flavors", stingy)
    assert not (tmp_path / "flavors").exists()
