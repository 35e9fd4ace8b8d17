"""Python environments made from requirements, kept in the user's cache. Knows no model.

`uv` builds them where it is installed, venv and pip otherwise. One is built beside its
place and renamed into it, so that what is found there is whole, whoever else builds it
at the same time. Nothing in it is shared with the environment that asks.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from edgekit.document import canonical_json
from edgekit.errors import ConversionError

TIMEOUT_S = 1_200.0
_FORGET_S = 600.0  # a failed build is not tried again for so long
_KEY_CHARACTERS = 16
_TROUBLE_CHARACTERS = 600
_PYTHON = Path("bin", "python")
_OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
# What the installers see: how to reach package indexes, and nothing of this environment.
_PASSED_ON = ("HOME", "LANG", "PATH", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
_PASSED_ON_PREFIXES = ("PIP_", "UV_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy")

Progress = Callable[[str], None]


class NoEnvironmentError(ConversionError):
    """The requirements cannot be installed here, or the index does not answer."""


def cache_folder() -> Path:
    """Return where environments are kept: edgekit/environments in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "edgekit" / "environments"


def cached(
    requirements: Sequence[str], *, python: str = _OWN, cache: Path | None = None
) -> Path | None:
    """Return the interpreter of an environment that was built before, None if none was."""
    interpreter = _place(requirements, python, cache) / _PYTHON
    return interpreter if interpreter.exists() else None


def environment(  # noqa: PLR0913 - what is wanted, and how patiently
    requirements: Sequence[str],
    progress: Progress,
    *,
    python: str = _OWN,
    wheels_only: bool = True,
    nearest: bool = False,
    cache: Path | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Return the interpreter of an environment with these requirements, built if needed.

    `python` is a version, "3.11"; another than this one's needs uv, which finds it.
    `nearest` takes the lowest version that each requirement allows, which only uv can.
    Installing runs no code of the packages while `wheels_only`. NoEnvironmentError says
    what the installer said; for ten minutes it says so again without trying.
    """
    place = _place(requirements, python, cache)
    if place.joinpath(_PYTHON).exists():
        return place / _PYTHON
    trouble = place.with_name(f"{place.name}.trouble")
    _refuse_again(trouble)
    shown = ", ".join(requirements)
    progress(f"building a Python {python} environment with {shown} (once, it is cached)")
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        lowest = ["--resolution", "lowest-direct"] if nearest else []
        wheels = ["--only-binary", ":all:"] if wheels_only else []
        _build(beside, requirements, python, [*lowest, *wheels], timeout_s)
        _settle(beside, place)
    except NoEnvironmentError as error:
        trouble.write_text(str(error), "utf-8")
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    trouble.unlink(missing_ok=True)
    return place / _PYTHON


def interpreter(python: str) -> Path | None:
    """Return an interpreter of a version that is installed here, None if uv finds none."""
    uv = _uv()
    if uv is None:
        return None
    found = subprocess.run(  # noqa: S603 - an installer, named here
        [uv, "python", "find", "--no-project", python],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=_environment(),
    )
    return Path(found.stdout.strip()) if found.returncode == 0 else None


def _place(requirements: Sequence[str], python: str, cache: Path | None) -> Path:
    wanted = {
        "python": python,
        "implementation": sys.implementation.cache_tag,
        "machine": platform.machine(),
        "requirements": sorted(requirements),
    }
    key = sha256(canonical_json(wanted)).hexdigest()[:_KEY_CHARACTERS]
    return (cache or cache_folder()) / key


def _refuse_again(trouble: Path) -> None:
    try:
        age_s = time.time() - trouble.stat().st_mtime
    except OSError:
        return
    if 0 <= age_s < _FORGET_S:
        raise NoEnvironmentError(trouble.read_text("utf-8"))


def _build(
    folder: Path,
    requirements: Sequence[str],
    python: str,
    options: Sequence[str],
    timeout_s: float,
) -> None:
    deadline = time.monotonic() + timeout_s
    uv = _uv()
    if uv is None and "lowest-direct" in options:
        raise NoEnvironmentError("the nearest versions: only uv finds them; install uv")
    if uv:
        base = sys.executable if python == _OWN else python
        make = [uv, "venv", "--quiet", "--allow-existing", "--python", base, str(folder)]
        fill = [uv, "pip", "install", "--quiet", "--python", str(folder / _PYTHON)]
    elif python == _OWN:
        make = [sys.executable, "-m", "venv", str(folder)]
        fill = [str(folder / _PYTHON), "-m", "pip", "install", "--quiet"]
        fill += ["--disable-pip-version-check", "--retries", "1"]
    else:
        raise NoEnvironmentError(
            f"Python {python}: this is {_OWN}; install uv, which finds others"
        )
    _run(make, deadline, f"Python {python}")
    _run([*fill, *options, *requirements], deadline, ", ".join(requirements))


def _uv() -> str | None:
    """Return uv, from this environment before the path."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _run(command: Sequence[str], deadline: float, subject: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - an installer, named above
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=max(1.0, deadline - time.monotonic()),
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise NoEnvironmentError(f"{subject}: not installed in time, given up") from error
    except OSError as error:
        raise NoEnvironmentError(f"{subject}: {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise NoEnvironmentError(
            f"{subject}: cannot be installed: {said[:_TROUBLE_CHARACTERS] or 'no message'}"
        )


def _environment() -> dict[str, str]:
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    path = os.pathsep.join([passed.get("PATH", os.defpath), *_pyenv()])
    own = {"UV_HTTP_RETRIES": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return {**own, **passed, "PATH": path}


def _pyenv() -> list[str]:
    """Return where pyenv keeps interpreters, which it hides until they are chosen."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return sorted(str(found) for found in root.glob("versions/3.*/bin"))


def _settle(beside: Path, place: Path) -> None:
    """Rename the new environment into its place, unless another process was first."""
    try:
        beside.rename(place)
    except OSError:
        if not place.joinpath(_PYTHON).exists():
            raise
