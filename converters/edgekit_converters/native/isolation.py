"""The packages a model was made with, in an environment of their own. Loads no model.

The child that converts runs there unchanged: edgekit's own code is lent to it by name, the
tools that write ONNX are installed beside it, and everything else as the model's
requirements pin it, or as near above as there are wheels for a Python that is here.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import edgekit
import edgekit_converters
from edgekit.conversion import Progress
from edgekit.errors import ConversionError
from edgekit_converters import environments
from edgekit_converters.environments import NoEnvironmentError
from edgekit_converters.frameworks import TOOLS
from edgekit_converters.intake import requirements
from edgekit_converters.intake.kind import Kind
from edgekit_converters.intake.requirements import Pin, Requirements
from edgekit_converters.intake.source import MLMODEL, Source
from edgekit_converters.versions import installed

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
OLDEST = "3.10"  # that the child runs in, with what older.py lends it
# What every converter writes, checks and reads with.
_SHARED = ("onnx>=1.16", "onnxruntime>=1.19", "joblib>=1.1", "pyyaml>=6")
_PARQUET = ("pyarrow>=14",)
_OURS = {  # never as a model pins them: edgekit brings its own, or needs none
    "edgekit-agent",
    "edgekit-converters",
    "edgekit-core",
    "mlflow",
    "mlflow-skinny",
    "mlflow-tracing",
    "onnx",
    "onnxconverter-common",
    "onnxmltools",
    "onnxruntime",
    "protobuf",
    "pyyaml",
    "skl2onnx",
}
# Packages that pin nothing above: what they must not meet. From 1.5 on scikit-learn's
# wheels agree with numpy 2, from 2.0 and 4.0 on xgboost's and lightgbm's do. The oldest
# import pkg_resources, which newer setuptools lack.
_OLD = {"scikit-learn": (1, 5), "xgboost": (2, 0), "lightgbm": (4, 0)}
_BEFORE = ("numpy>=1.21,<2", "scipy>=1.8,<1.12", "pandas>=1.3,<3", "setuptools<70")
_SINCE = ("pandas>=2",)
_TOO_LARGE = {Kind.TORCH_PICKLE, Kind.TORCH_PROGRAM, Kind.TORCH_SCRIPT}
_FIRST_NAMED = (1, 1)  # skl2onnx for older scikit-learns needs onnx before 1.18
_MANY = 5  # names that one sentence lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One environment to try: what goes in, for which Python, exact or nearest above."""

    requirements: tuple[str, ...]
    python: str
    nearest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolated:
    """An environment that is there: its interpreter, and what it sees of edgekit."""

    interpreter: Path
    python: str  # its version, "3.11"
    lent: Path  # a folder with edgekit's packages and nothing else

    def command(self, module: str) -> tuple[str, ...]:
        """Return how a module of edgekit's is started there."""
        if self.python != OLDEST:
            return (str(self.interpreter), "-P", "-m", module)
        older = self.lent / "edgekit_converters" / "native" / "older.py"
        return (str(self.interpreter), str(older))


def wanted(source: Source, progress: Progress) -> Requirements | None:
    """Return what the model asks for; None if it does not say, or its kind needs none.

    What is left out of its requirements is told.
    """
    if source.kind not in TOOLS or not source.folder.joinpath(MLMODEL).is_file():
        return None
    found = requirements.read(source.folder)
    if found is None:
        return None
    left_out = [line for line in found.left_out if requirements.normal(line) not in _OURS]
    if left_out:
        progress(
            "requirements of the model: only name==version is taken, left out:"
            f" {_listed(left_out)}"
        )
    return found


def attempts(
    found: Requirements, tools: Sequence[str], pythons: Sequence[str]
) -> tuple[Attempt, ...]:
    """Return the environments to try, the most faithful first.

    `pythons` are the versions there are ("3.10"), this one's included; `tools` are the
    requirements of edgekit's part.
    """
    pins = tuple(pin for pin in found.pins if pin.name not in _OURS)
    theirs = [found.python] if found.python in pythons else []
    order = dict.fromkeys([*theirs, OWN, *([OLDEST] if OLDEST in pythons else [])])
    exact = tuple(
        Attempt(
            requirements=(*map(str, pins), *_beside(pins, tools, python)), python=python
        )
        for python in order
        if _number(python) >= _number(OLDEST)
    )
    newer = [f"{pin.name}{pin.extras}>={pin.version}" for pin in pins]
    near = (*newer, *_beside(pins, tools, OWN))
    return (*exact, Attempt(requirements=near, python=OWN, nearest=True))


def prepare(
    source: Source,
    found: Requirements,
    workdir: Path,
    progress: Progress,
    *,
    parquet: bool = False,
) -> Isolated:
    """Return the environment, built if it is not in the cache; NoEnvironmentError if not.

    Where the exact versions have no wheels for any Python that is here, the nearest newer
    ones that have are taken, and told.
    """
    tools = (*_SHARED, *TOOLS[source.kind], *(_PARQUET if parquet else ()))
    trouble: NoEnvironmentError | None = None
    for attempt in attempts(found, tools, _pythons(found)):
        try:
            interpreter = environments.environment(
                attempt.requirements,
                progress,
                python=attempt.python,
                nearest=attempt.nearest,
            )
        except NoEnvironmentError as error:
            trouble = trouble or error
        else:
            _tell(found, attempt, interpreter, progress)
            return Isolated(
                interpreter=interpreter, python=attempt.python, lent=_lend(workdir)
            )
    raise NoEnvironmentError(
        f"the environment of its requirements cannot be built: {trouble}."
        f"{_advice(found)} Or log the model again with current libraries"
    )


def packages(interpreter: Path) -> Mapping[str, str]:
    """Return name and version of what an environment holds."""
    sites = interpreter.parent.parent.glob("lib/python*/site-packages")
    found = distributions(path=[str(site) for site in sites])
    return {requirements.normal(one.name): one.version for one in found}


def refusal(source: Source) -> ConversionError:
    """Return the refusal of a model that cannot be isolated."""
    if source.kind in _TOO_LARGE:
        return ConversionError(
            f"{source.path.name}: PyTorch is not installed a second time, as it takes"
            " gigabytes with its GPU libraries; where the model was made, save it as an"
            " exported program (torch.export.save), which newer versions read"
        )
    if source.kind not in TOOLS:
        known = ", ".join(sorted(TOOLS))
        return ConversionError(
            f"{source.path.name}: a {source.kind} model is read without the packages it"
            f" was made with; --isolate always is for {known}"
        )
    return ConversionError(
        f"{source.path.name}: no requirements.txt or conda.yaml of MLflow is beside it;"
        " an environment of its own needs one"
    )


def _pythons(found: Requirements) -> tuple[str, ...]:
    others = {found.python, OLDEST} - {"", OWN}
    return (OWN, *(p for p in sorted(others) if environments.interpreter(p) is not None))


def _beside(pins: Sequence[Pin], tools: Sequence[str], python: str) -> tuple[str, ...]:
    """Return edgekit's part: in this Python, the very versions that are installed here."""
    lines = [*tools, *(_BEFORE if any(map(_old, pins)) else _SINCE)]
    if python == OWN:
        here = installed(*(_name(line) for line in tools))
        lines = [f"{n}=={here[n]}" if n in here else line for line, n in _named(lines)]
    elif any(p.name == "scikit-learn" and _release(p) < _FIRST_NAMED for p in pins):
        lines.append("onnx<1.18")
    pinned = {pin.name for pin in pins}
    return tuple(line for line, name in _named(lines) if name not in pinned)


def _named(lines: Sequence[str]) -> list[tuple[str, str]]:
    return [(line, _name(line)) for line in lines]


def _name(requirement: str) -> str:
    return re.split("[<>=]", requirement, maxsplit=1)[0]


def _old(pin: Pin) -> bool:
    return _release(pin) < _OLD.get(pin.name, ())


def _release(pin: Pin) -> tuple[int, ...]:
    return tuple(int(part) for part in pin.version.split(".")[:2] if part.isdigit())


def _number(python: str) -> tuple[int, ...]:
    return tuple(int(part) for part in python.split("."))


def _tell(
    found: Requirements, attempt: Attempt, interpreter: Path, progress: Progress
) -> None:
    if found.python not in {"", attempt.python}:
        progress(f"made with Python {found.python}, loaded with Python {attempt.python}")
    there = packages(interpreter)
    changed = [
        f"{pin.name} {there[pin.name]} instead of {pin.version}"
        for pin in found.pins
        if there.get(pin.name, pin.version) != pin.version and pin.name not in _OURS
    ]
    if changed:
        progress(f"not in its own versions, which have no wheels here: {_listed(changed)}")


def _advice(found: Requirements) -> str:
    if found.python in {"", OWN}:
        return ""
    python = max(found.python, OLDEST, key=_number)
    return f" Python {python} may have wheels of them: uv python install {python}."


def _lend(workdir: Path) -> Path:
    lent = workdir / "lent"
    lent.mkdir()
    for package in (edgekit, edgekit_converters):
        home = Path(str(package.__file__)).parent
        lent.joinpath(home.name).symlink_to(home)
    return lent


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MANY} more" if len(texts) > _MANY else ""
    return ", ".join(texts[:_MANY]) + more
