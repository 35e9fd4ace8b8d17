"""Run an ONNX graph. The only file that knows onnxruntime; it knows no bundle or schema.

A session uses one thread on the CPU and exactly the options that the signed manifest
asks for, on the workstation that measures as on the device that serves.
"""

import ctypes
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from edgekit import scratch
from edgekit.errors import ProofError
from edgekit.manifest import RuntimeNeeds
from edgekit.table import Array

_ERRORS_ONLY = 3
_M_MMAP_THRESHOLD = -3  # glibc's name for it, in malloc.h
_OWN_PAGES_BYTES = 256 * 1024  # glibc starts at 128 KiB, and moves it up to 32 MiB itself
_FAILURES = (
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
    state.EPFail,
    RuntimeError,
    ValueError,
)


def version() -> str:
    """Return onnxruntime's version, "1.31.1"."""
    return str(onnxruntime.__version__)


def operators() -> frozenset[tuple[str, str]]:
    """Return (domain, name) of every operator that this onnxruntime knows."""
    return frozenset((one.domain, one.name) for one in state.get_all_operator_schema())


class Session:
    """One loaded graph. Calls of run may come from several threads."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401 - onnxruntime has no types
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    @classmethod
    def load(
        cls, model: Path | bytes, needs: RuntimeNeeds, *, threads: int = 1
    ) -> "Session":
        """Load a graph; ProofError when this onnxruntime cannot."""
        _give_back_weights()
        options = _options(needs, threads)
        source = model if isinstance(model, bytes) else str(model)
        return cls(_loaded(source, options))

    @property
    def inputs(self) -> tuple[tuple[str, str, tuple[object, ...]], ...]:
        """Name, ONNX type ("tensor(float)") and shape (None or text: any) of each input."""
        return tuple((i.name, i.type, tuple(i.shape)) for i in self._session.get_inputs())

    @property
    def outputs(self) -> tuple[tuple[str, str, tuple[object, ...]], ...]:
        """Name, ONNX type and shape of each output."""
        return tuple((o.name, o.type, tuple(o.shape)) for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return every output by name; ProofError when the graph fails on these inputs."""
        try:
            # With names given, onnxruntime need not make a list of them for each call.
            values = self._session.run(self._outputs, dict(feeds))
        except _FAILURES as error:
            raise ProofError(f"model: it failed on its input: {error}") from error
        return dict(zip(self._outputs, values, strict=True))


def optimised(model: bytes, needs: RuntimeNeeds) -> bytes:
    """Return the graph that really runs, as ONNX; ProofError when it cannot be loaded.

    What onnxruntime makes of a model depends on the processor: integer kernels, fusions.
    """
    with scratch.folder("optimised") as folder:
        path = folder / "model.onnx"
        options = _options(needs, 1)
        options.optimized_model_filepath = str(path)
        _loaded(model, options)
        return path.read_bytes()


def give_back_memory() -> None:
    """Return freed pages to the system, so that the memory after many swaps stays flat.

    The allocator keeps what dropped sessions freed: 199 MB and rising after 12 swaps of a
    20 MB model, 72 MB and flat with this call (measured with glibc).
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # musl has none
        trim(0)


def _give_back_weights() -> None:
    """Have the allocator return each large weight as soon as the runtime has packed it.

    Left alone, glibc takes what is as large as something it freed before from its heap,
    where holes stay: 14 dense layers of 1024 x 1024 took 114 MB, and 72 MB with this call
    (docs/adr/0039-large-weights-have-pages-of-their-own.md).
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:  # musl has none, and returns pages by itself
        set_option(_M_MMAP_THRESHOLD, _OWN_PAGES_BYTES)


def _options(needs: RuntimeNeeds, threads: int) -> Any:  # noqa: ANN401 - no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.enable_mem_pattern = False  # no faster, and activations take twice the memory
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in sorted(needs.session_options.items()):
        options.add_session_config_entry(key, value)
    return options


def _loaded(source: str | bytes, options: Any) -> Any:  # noqa: ANN401 - no types
    try:
        return onnxruntime.InferenceSession(
            source, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except _FAILURES as error:
        raise ProofError(
            f"model: onnxruntime {version()} cannot load it: {error}"
        ) from error
