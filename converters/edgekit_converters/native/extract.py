"""The parent's side: have a model converted in a child process, and read what it left.

Loads no model and no framework itself. Whatever goes wrong in the child becomes one
ConversionError that says what a person can do.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.conversion import ConversionRequest, Isolation, Progress
from edgekit.document import Reader
from edgekit.errors import ConversionError
from edgekit_converters import extraction, runtimes
from edgekit_converters.environments import NoEnvironmentError
from edgekit_converters.extraction import Extraction
from edgekit_converters.intake.source import Source, read
from edgekit_converters.intake.unloadable import UnloadableError
from edgekit_converters.job import Order
from edgekit_converters.native import child as native
from edgekit_converters.native import isolation
from edgekit_converters.native.isolation import Isolated
from edgekit_converters.native.process import run

TIMEOUT_S = 1_800
_LAST_LINES = 5
_LOG_TAIL_BYTES = 8_192
# What the child sees of the environment: enough to find its libraries, no secrets.
_LIBRARIES = ("JAVA_HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH")
_PASSED_ON = (*_LIBRARIES, "HOME", "LANG", "TMPDIR")
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
    in it. What the libraries here cannot load is loaded among its own, where the request
    allows. ConversionError when the model is refused, cannot be converted, or the child
    crashes, hangs for more than `timeout_s` or leaves garbage.
    """
    source = read(request.model_folder)
    source.refuse_untrusted(trust_pickle=request.trust_pickle)
    child = _Child(request=request, source=source, workdir=workdir, timeout_s=timeout_s)
    if request.isolate is not Isolation.ALWAYS:
        progress(f"loading {source.path.name} ({source.kind}) and converting it to ONNX")
        try:
            return child.convert("native")
        except UnloadableError as trouble:
            if request.isolate is Isolation.NEVER:
                raise
            return _isolated(child, trouble, progress)
    return _isolated(child, None, progress)


def _isolated(
    child: "_Child", trouble: UnloadableError | None, progress: Progress
) -> Extraction:
    """Convert among the model's own packages; `trouble` is what happened among ours."""
    source, samples = child.source, child.request.samples
    found = isolation.wanted(source, progress)
    if found is None:
        raise trouble or isolation.refusal(source)
    if trouble is not None:
        progress(f"{trouble}")
    if not child.request.trust_pickle:
        raise ConversionError(
            f"{source.path.name}: the packages it was made with run code when they are"
            " imported. If you trust where it comes from, allow it with --trust-pickle"
        ) from trouble
    parquet = samples is not None and samples.suffix == ".parquet"
    try:
        home = isolation.prepare(source, found, child.workdir, progress, parquet=parquet)
    except NoEnvironmentError as error:
        if trouble is None:
            raise
        raise ConversionError(f"{trouble}; and {error}") from error
    progress(f"converting {source.path.name} among the packages it was made with")
    converted = child.convert("isolated", home)
    return replace(converted, tools={**converted.tools, "environment": "isolated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    """Where one model is converted, in a process of its own."""

    request: ConversionRequest
    source: Source
    workdir: Path
    timeout_s: float

    def convert(self, name: str, home: Isolated | None = None) -> Extraction:
        """Have it converted in this interpreter, or in that of an environment."""
        out = self.workdir / name
        out.mkdir()
        samples = self.request.samples
        order = Order(
            model=self.request.model_folder.resolve(),
            out=out.resolve(),
            supported=runtimes.common(self.request.boards),
            samples=None if samples is None else samples.resolve(),
            target=self.request.target,
            group=self.request.group,
            trust_pickle=self.request.trust_pickle,
        )
        self._run(order, home)
        return extraction.load(out)

    def _run(self, order: Order, home: Isolated | None) -> None:
        order_file = self.workdir / f"{order.out.name}.json"
        order_file.write_bytes(order.to_json())
        log = self.workdir / f"{order.out.name}.log"
        here = (sys.executable, "-P", "-m", native.__name__)
        command = here if home is None else home.command(native.__name__)
        try:
            code = run(
                [*command, str(order_file.resolve())],
                log=log,
                cwd=self.workdir,
                env=_environment(os.environ, home) | {"TMPDIR": str(self.workdir)},
                timeout_s=self.timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise ConversionError(
                f"{self.source.path.name}: not converted after {self.timeout_s:g} s,"
                " given up"
            ) from error
        if code == native.REFUSED:
            raise _refusal(order.out / native.ERROR)
        if code != 0:
            raise ConversionError(_crash(self.source, code, log))


def _environment(own: Mapping[str, str], home: Isolated | None) -> dict[str, str]:
    passed = {name: own[name] for name in _PASSED_ON if name in own} | _CHILD
    if home is None:
        return passed
    # Another Python's bytecode has no place beside edgekit's own code.
    lent = {"PYTHONPATH": str(home.lent.resolve()), "PYTHONDONTWRITEBYTECODE": "1"}
    return {**passed, **lent}


def _refusal(path: Path) -> ConversionError:
    if not path.is_file():
        return ConversionError(
            f"{path.name}: the converting process refused the model without a reason"
        )
    reader = Reader.from_json(path.read_bytes(), subject=path.name, error=ConversionError)
    kind = UnloadableError if reader.flag("unloadable") else ConversionError
    return kind(reader.text("message"))


def _crash(source: Source, code: int, log: Path) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"failed with code {code}"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        text = stream.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = " / ".join(lines[-_LAST_LINES:]) or "it said nothing"
    return f"{source.path.name}: the converting process {how}: {last}"
