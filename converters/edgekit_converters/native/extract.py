"""The parent's side: have a model converted in a child process, and read what it left.

Loads no model and no framework itself. Whatever goes wrong in the child becomes one
ConversionError that says what a person can do.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgekit.conversion import ConversionRequest, Progress
from edgekit.document import Reader
from edgekit.errors import ConversionError
from edgekit_converters import extraction, runtimes
from edgekit_converters.extraction import Extraction
from edgekit_converters.intake.source import Source, read
from edgekit_converters.job import Order
from edgekit_converters.native import child as native

TIMEOUT_S = 1_800
_LAST_LINES = 5
_LOG_TAIL_BYTES = 8_192
# What the child sees of the environment: enough to find its libraries, no secrets.
_PASSED_ON = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR")
_CHILD = {
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # names that come out of a set: same input, same bytes
    "PYTHONWARNINGS": "ignore",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}


def extract(
    request: ConversionRequest,
    workdir: Path,
    progress: Progress,
    *,
    timeout_s: float = TIMEOUT_S,
) -> Extraction:
    """Return the request's model as faithful float32 ONNX, with the original's answers.

    `workdir` is an existing folder of this call alone; the child's output and log stay
    in it. ConversionError when the model is refused, cannot be converted, or the child
    crashes, hangs for more than `timeout_s` or leaves garbage.
    """
    source = read(request.model_folder)
    source.refuse_untrusted(trust_pickle=request.trust_pickle)
    out = workdir / "native"
    out.mkdir()
    order = Order(
        model=request.model_folder.resolve(),
        out=out.resolve(),
        supported=runtimes.common(request.boards),
        samples=None if request.samples is None else request.samples.resolve(),
        target=request.target,
        trust_pickle=request.trust_pickle,
    )
    progress(f"loading {source.path.name} ({source.kind}) and converting it to ONNX")
    _run(order, source, workdir, timeout_s)
    return extraction.load(out)


def _run(order: Order, source: Source, workdir: Path, timeout_s: float) -> None:
    order_file = workdir / "order.json"
    order_file.write_bytes(order.to_json())
    log = workdir / "native.log"
    with log.open("wb") as stream:
        child = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            [sys.executable, "-P", "-m", native.__name__, str(order_file.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            cwd=workdir,
            env=_environment(os.environ),
            start_new_session=True,
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ConversionError(
                f"{source.path.name}: not converted after {timeout_s:g} s, given up"
            ) from error
        finally:
            _end(child)
    if code == native.REFUSED:
        raise ConversionError(_message(order.out / native.ERROR))
    if code != 0:
        raise ConversionError(_crash(source, code, log))


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    return {name: own[name] for name in _PASSED_ON if name in own} | _CHILD


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and whatever it started, if anything is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _message(path: Path) -> str:
    if not path.is_file():
        return f"{path.name}: the converting process refused the model without a reason"
    reader = Reader.from_json(path.read_bytes(), subject=path.name, error=ConversionError)
    return reader.text("message")


def _crash(source: Source, code: int, log: Path) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"failed with code {code}"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = " / ".join(lines[-_LAST_LINES:]) or "it said nothing"
    return f"{source.path.name}: the converting process {how}: {last}"
