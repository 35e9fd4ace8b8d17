"""Take models out of their framework as the converters do, and ask their ONNX form."""

import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from edgekit.binding import Predictions, feeds, results
from edgekit.runtime import Session
from edgekit.table import Array, Table
from edgekit_converters.encoding import decode
from edgekit_converters.extraction import Extraction
from edgekit_converters.frameworks import finishing
from edgekit_converters.job import Order
from edgekit_converters.native import child as native
from edgekit_converters.runtimes import supported

# float64 originals against float32 graphs: 24 bits of mantissa, summed over at most some
# hundred terms, leave about 1e-5 of the value.
RTOL = 1e-4
ATOL = 1e-5
TYPES = {"f": "double", "i": "long", "b": "boolean"}  # the others are texts


def extracted(
    model: Path,
    samples: Path | None = None,
    *,
    target: str | None = None,
    trust_pickle: bool = False,
    onnxruntime: str = "1.20",
) -> Extraction:
    """Convert in this process, which saves the seconds that a child needs to start."""
    order = Order(
        model=model,
        out=model.parent,
        supported=supported(onnxruntime),
        samples=samples,
        target=target,
        trust_pickle=trust_pickle,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in the child: they are the frameworks' own
        return native.convert(order.job())


def pickled(folder: Path, model: object) -> Path:
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    return path


def saved_rows(folder: Path, array: Array) -> Path:
    path = folder / "rows.npy"
    np.save(path, array)
    return path


def taken(folder: Path, model: object, rows: Array) -> Extraction:
    return extracted(pickled(folder, model), saved_rows(folder, rows), trust_pickle=True)


def signed(folder: Path, model: object, frame: pd.DataFrame, **pyfunc: str) -> Path:
    """An MLflow folder as far as the converters read it, the model pickled."""
    home = folder / "signed"
    home.mkdir()
    pickled(home, model)
    columns = [
        {"type": TYPES.get(frame[name].dtype.kind, "string"), "name": name}
        for name in frame
    ]
    document = {
        "flavors": {
            "python_function": {"loader_module": "mlflow.sklearn", **pyfunc},
            "sklearn": {"pickled_model": "model.pkl", "sklearn_version": "1.9.1"},
        },
        "signature": {"inputs": json.dumps(columns), "outputs": None},
    }
    home.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    return home


def answers(extraction: Extraction, table: Table | None = None) -> Predictions:
    session = Session.load(extraction.model, finishing.needs(decode(extraction.model)))
    given = extraction.samples if table is None else table
    return results(extraction.binding, session.run(feeds(extraction.binding, given)))


def assert_same(got: Predictions, wanted: Predictions) -> None:
    """Equal labels, numbers within float32's reach, in the original's dtypes and shapes."""
    assert_alike(got.prediction, wanted.prediction)
    if got.probabilities is not None:
        assert_alike(got.probabilities, wanted.probabilities)
    if got.score is not None:
        assert_alike(got.score, wanted.score)


def assert_alike(
    got: Array | dict[str, Array] | None, wanted: Array | dict[str, Array] | None
) -> None:
    if isinstance(wanted, dict):
        assert isinstance(got, dict)
        assert list(got) == list(wanted)
        for name, array in wanted.items():
            assert_alike(got[name], array)
        return
    assert isinstance(got, np.ndarray)
    assert isinstance(wanted, np.ndarray)
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(got, wanted, rtol=RTOL, atol=ATOL)
    else:
        assert got.tolist() == wanted.tolist()
