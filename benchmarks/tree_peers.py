# noqa: INP001 - a script's part, not a package
"""Tree ensembles as other tools write them: skl2onnx, onnxmltools, TL2cgen, emlearn.

Each is optional. What fails, is not installed or takes too long gives a sentence instead
of a file; what is compiled is compiled by the local gcc.
"""

import copy
import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.table import Array

COMPILED_SPLITS = 3_500  # gcc needs a minute for ten thousand
_EMLEARN_CALL = "int edgekit_predict(const float *x, int n) { return m_predict(x, n); }\n"
_INSTALL = "not installed: pip install {}"


def peers(model: Any, splits: int, columns: int) -> dict[str, bytes | str]:  # noqa: ANN401
    """Return each tool's file, or why there is none. Models have no common type."""
    found: dict[str, bytes | str] = {}
    kind = type(model).__module__.partition(".")[0]
    if kind == "sklearn":
        found["skl2onnx"] = _tried(lambda: skl2onnx_file(model, columns), "skl2onnx")
    else:
        found["onnxmltools"] = _tried(lambda: onnxmltools_file(model, columns), kind)
    if shutil.which("gcc") is None:
        return {**found, "TL2cgen": "no gcc"}
    if splits > COMPILED_SPLITS:
        found["TL2cgen"] = f"not compiled: gcc takes minutes for {splits:,} splits"
        return found
    found["TL2cgen"] = _tried(lambda: tl2cgen_file(model), "tl2cgen treelite")
    if type(model).__name__ == "RandomForestClassifier":
        found["emlearn"] = _tried(lambda: emlearn_file(model), "emlearn")
    return found


def skl2onnx_file(model: Any, columns: int) -> bytes:  # noqa: ANN401 - as above
    """Return skl2onnx's file of a model, as it converts it unaided."""
    import skl2onnx  # noqa: PLC0415 - optional
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415 - as above

    model = copy.deepcopy(model)
    graph = skl2onnx.convert_sklearn(
        model,
        initial_types=[("input", FloatTensorType([None, columns]))],
        target_opset={"": 17, "ai.onnx.ml": 3},
        options={id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None,
    )
    return bytes(graph.SerializeToString())


def onnxmltools_file(model: Any, columns: int) -> bytes:  # noqa: ANN401 - as above
    """Return onnxmltools' file of an XGBoost or LightGBM model."""
    import onnxmltools  # noqa: PLC0415 - optional
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

    types = [("input", FloatTensorType([None, columns]))]
    if type(model).__name__.startswith("XGB"):
        graph = onnxmltools.convert_xgboost(model, initial_types=types, target_opset=15)
    else:
        graph = onnxmltools.convert_lightgbm(
            model, initial_types=types, target_opset=15, zipmap=False
        )
    return bytes(graph.SerializeToString())


def tl2cgen_file(model: Any) -> bytes:  # noqa: ANN401 - as above
    """Return the shared library that TL2cgen and gcc make of a model."""
    import tl2cgen  # noqa: PLC0415 - optional
    import treelite  # noqa: PLC0415 - as above

    module = type(model).__module__
    if module.startswith("xgboost"):
        held = treelite.frontend.from_xgboost(model.get_booster())
    elif module.startswith("lightgbm"):
        held = treelite.frontend.from_lightgbm(model.booster_)
    else:
        held = treelite.sklearn.import_model(model)
    with tempfile.TemporaryDirectory(prefix="edgekit-tl2cgen-") as name:
        library = Path(name) / "model.so"
        tl2cgen.export_lib(held, toolchain="gcc", libpath=str(library), params={})
        return library.read_bytes()


def emlearn_file(model: Any) -> bytes:  # noqa: ANN401 - as above
    """Return the shared library that gcc makes of emlearn's C, features as float."""
    import emlearn  # noqa: PLC0415 - optional

    with tempfile.TemporaryDirectory(prefix="edgekit-emlearn-") as name:
        source, library = Path(name) / "m.c", Path(name) / "m.so"
        code = emlearn.convert(model, method="inline", dtype="float", leaf_bits=8)
        source.write_text(code.save(name="m", format="c") + _EMLEARN_CALL)
        subprocess.run(  # noqa: S603 - the compiler, on what was just written
            [str(shutil.which("gcc")), "-Os", "-shared", "-fPIC", "-w",
             "-I", emlearn.includedir, str(source), "-o", str(library)],
            check=True,
            timeout=300,
        )  # fmt: skip
        return library.read_bytes()


def answering(form: str, library: Path) -> Callable[[Array], Array]:
    """Load a compiled file and return what answers rows with it."""
    if form == "emlearn":
        function = ctypes.CDLL(str(library)).edgekit_predict
        function.argtypes = [ctypes.c_void_p, ctypes.c_int]

        def answer(rows: Array) -> Array:
            width = rows.shape[1]
            found = [function(row.ctypes.data, width) for row in np.ascontiguousarray(rows)]
            return np.array(found)

        return answer
    import tl2cgen  # noqa: PLC0415 - optional, and only children need it

    predictor = tl2cgen.Predictor(str(library), nthread=1)

    def ask(rows: Array) -> Array:
        return np.asarray(predictor.predict(tl2cgen.DMatrix(rows)))

    return ask


def labels_of(answer: Array, classes: Array | None) -> Array:
    """Return labels, or numbers where there are no classes, of a compiled answer."""
    flat = answer.reshape(len(answer), -1)
    if classes is None:
        return flat[:, 0]
    if flat.shape[1] > 1:
        number = flat.argmax(axis=1)
    elif answer.dtype.kind == "f":
        number = (flat[:, 0] > 0.5).astype(int)  # noqa: PLR2004 - the threshold of two
    else:
        number = flat[:, 0]
    found: Array = classes[number]
    return found


def _tried(make: Callable[[], bytes], packages: str) -> bytes | str:
    started = time.perf_counter()
    try:
        file = make()
    except ImportError:
        return _INSTALL.format(packages)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as e:
        return f"fails: {type(e).__name__}: {' '.join(str(e).split())[:80]}"
    except subprocess.SubprocessError as error:
        return f"gcc fails: {error}"
    sys.stderr.write(f"  {packages}: {time.perf_counter() - started:.1f} s\n")
    return file
