# noqa: INP001 - a script's part, not a package
"""The forms of a network that benchmarks.networks compares: ours, and those of peers.

Each builder returns a file's bytes, or the sentence that says why there is none.
"""

import importlib
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from onnx import ModelProto

from benchmarks.network_cases import Case
from edgekit.manifest import RuntimeNeeds
from edgekit.runtime import Session
from edgekit.table import Array
from edgekit_converters.encoding import encode
from edgekit_converters.flavors import FLAVORS, DoesNotApply, Source
from edgekit_converters.passes import clean, simplify

OURS = ("fp32", "fp16", "int8", "int5", "int4", "weights-mixed", "int8-static")
_MAX_DROP = 0.005
_CALIBRATED_ON = 256  # rows for onnxruntime's static quantiser
_BATCH_ROWS = 64

Form = bytes | str


class OnRows:
    """The search of our flavors: the metric on the rows that choices are made on."""

    max_drop = _MAX_DROP

    def __init__(self, case: Case, model: ModelProto, seconds: float) -> None:
        self._case, self._units = case, np.flatnonzero(case.chosen)
        self._feed = case.feed(self._units)
        self._until = time.monotonic() + seconds
        self._float = self._score(model, {})

    def drop(
        self, model: ModelProto, session_options: Mapping[str, str] | None = None
    ) -> float:
        """Return how much of the metric a variant loses."""
        return self._float - self._score(model, session_options or {})

    def progress(self, text: str) -> None:
        """Say nothing."""

    def spent(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._until

    def _score(self, model: ModelProto, session_options: Mapping[str, str]) -> float:
        outputs = answers(encode(clean(model)), self._feed, session_options)
        return self._case.score(told(self._case, outputs, self._feed), self._units)


def told(case: Case, outputs: Array, feed: Mapping[str, Array]) -> Array:
    """Return what the metric is made of: ad01's is the error, not the answer."""
    return (outputs - feed[case.input]) ** 2 if case.per_unit > 1 else outputs


def ours(case: Case, seconds: float) -> Iterator[tuple[str, Form, Mapping[str, str]]]:
    """Yield our flavors: name, file, session options."""
    model = simplify(case.model)
    units = np.flatnonzero(case.chosen)
    for name in OURS:
        search = OnRows(case, model, seconds)
        built = FLAVORS[name](
            Source(model=model, calibration=case.feed(units), search=search)
        )
        if isinstance(built, DoesNotApply):
            yield f"edgekit {name}", built.reason, {}
        else:
            yield f"edgekit {name}", encode(clean(built.model)), built.session_options


def theirs(case: Case) -> Iterator[tuple[str, Form, Mapping[str, str]]]:
    """Yield the forms of onnxruntime's quantisers and of onnxconverter-common."""
    for name, make in (
        ("onnxruntime dynamic", _dynamic),
        ("onnxruntime static QDQ", _static),
        ("onnxconverter-common fp16", _half),
    ):
        yield name, _told_why(make, case), {}


def answers(model: bytes, feed: Mapping[str, Array], options: Mapping[str, str]) -> Array:
    """Return the first output for all rows."""
    needs = RuntimeNeeds(
        opsets={}, ir_version=0, min_onnxruntime="", session_options=options
    )
    session = Session.load(model, needs)
    total = len(next(iter(feed.values())))
    parts = [
        session.run({n: v[at : at + _BATCH_ROWS] for n, v in feed.items()})
        for at in range(0, total, _BATCH_ROWS)
    ]
    return np.concatenate([next(iter(part.values())) for part in parts])


def _told_why(make: Callable[[Case, Path], bytes], case: Case) -> Form:
    logging.disable(logging.WARNING)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="edgekit-networks-") as name,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            Path(name, "float.onnx").write_bytes(case.model.SerializeToString())
            return make(case, Path(name))
    except ImportError as error:
        return f"not installed: pip install {str(error.name).replace('_', '-')}"
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        return f"failed: {str(error).strip().splitlines()[0][:80]}"
    finally:
        logging.disable(logging.NOTSET)


def _dynamic(case: Case, folder: Path) -> bytes:
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415 - a peer

    del case
    quantize_dynamic(_prepared(folder), folder / "out.onnx")
    return (folder / "out.onnx").read_bytes()


def _static(case: Case, folder: Path) -> bytes:
    from onnxruntime import quantization as peer  # noqa: PLC0415 - as above

    units = np.flatnonzero(case.chosen)
    rows = case.feed(units)[case.input]
    chosen = rows[:: max(1, len(rows) // _CALIBRATED_ON)]

    class Reader(peer.CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self._left = iter(chosen)

        def get_next(self) -> dict[str, Array] | None:
            row = next(self._left, None)
            return None if row is None else {case.input: row[None]}

    peer.quantize_static(_prepared(folder), folder / "out.onnx", Reader(), per_channel=True)
    return (folder / "out.onnx").read_bytes()


def _prepared(folder: Path) -> Path:
    """Return the model as onnxruntime's own preparation for its quantisers leaves it."""
    from onnxruntime.quantization.shape_inference import (  # noqa: PLC0415 - as above
        quant_pre_process,
    )

    quant_pre_process(
        folder / "float.onnx", folder / "prepared.onnx", skip_symbolic_shape=True
    )
    return folder / "prepared.onnx"


def _half(case: Case, folder: Path) -> bytes:
    peer = importlib.import_module("onnxconverter_common")  # it has no types
    del folder
    converted = peer.float16.convert_float_to_float16(case.model, keep_io_types=True)
    return bytes(converted.SerializeToString())
