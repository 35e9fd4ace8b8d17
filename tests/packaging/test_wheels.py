"""Each wheel is built, looked into, and tried alone in an environment with nothing else.

Needs a package index: pip fetches what the wheels require.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import edgekit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "edgekit_core": (".", "edgekit"),
    "edgekit_agent": ("agent", "edgekit_agent"),
    "edgekit_converters": ("converters", "edgekit_converters"),
}
# What a device installs, all of it: a contract. A new line needs a decision record.
ON_THE_DEVICE = {
    "cffi",
    "cryptography",
    "edgekit-agent",
    "edgekit-core",
    "flatbuffers",
    "numpy",
    "onnxruntime",
    "packaging",
    "paho-mqtt",
    "protobuf",
    "pycparser",
    "securesystemslib",
    "tuf",
    "urllib3",
} | ({"backports-zstd"} if sys.version_info < (3, 14) else set())
NOWHERE_NEAR_IT = ("click", "rich", "onnx", "mlflow", "pandas", "sklearn", "tensorflow")

Wheels = dict[str, Path]
Environment = Callable[..., Path]

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command where it cannot import the checkout by accident."""
    clean = {name: v for name, v in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in command],
        cwd="/",
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )


def succeed(*command: object) -> str:
    done = run(*command)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """The three wheels, by normalised name."""
    out = tmp_path_factory.mktemp("wheels")
    for folder, _ in FOLDERS.values():
        succeed(sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT / folder)
    return {path.name.split("-")[0]: path for path in out.glob("*.whl")}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Make an environment with nothing, not even pip, but some wheels' requirements."""

    def make(*requirements: object) -> Path:
        folder = tmp_path_factory.mktemp("environment")
        succeed(sys.executable, "-m", "venv", "--without-pip", folder)
        pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
        succeed(*pip, "install", "--quiet", *requirements)
        return folder / "bin"

    return make


@pytest.fixture(scope="module")
def core(wheels: Wheels, environment: Environment) -> Path:
    """The programs of an environment with edgekit-core alone."""
    return environment(wheels["edgekit_core"])


@pytest.fixture(scope="module")
def device(wheels: Wheels, environment: Environment) -> Path:
    """The programs of an environment as a device has it."""
    return environment(wheels["edgekit_core"], wheels["edgekit_agent"])


def test_three_wheels_are_built(wheels: Wheels) -> None:
    assert set(wheels) == set(FOLDERS)
    assert all(f"-{edgekit.__version__}-py3-none-any" in w.name for w in wheels.values())


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wheel_holds_its_package_its_types_its_licence_and_nothing_else(
    wheels: Wheels, name: str
) -> None:
    folder, package = FOLDERS[name]
    inside = names(wheels[name])
    sources = ROOT / folder / package
    modules = {str(p.relative_to(sources.parent)) for p in sources.rglob("*.py")}
    tops = {path.split("/")[0] for path in inside}
    assert modules <= inside
    assert f"{package}/py.typed" in inside
    assert tops == {package, f"{name}-{edgekit.__version__}.dist-info"}
    assert any(re.search(r"\.dist-info/licenses/LICENSE$", path) for path in inside)


def test_the_core_wheel_carries_the_boards(wheels: Wheels) -> None:
    boards = {f"edgekit/_boards/{p.name}" for p in (ROOT / "boards").glob("*.toml")}
    assert boards
    assert boards <= names(wheels["edgekit_core"])


def test_the_core_alone_finds_its_boards(core: Path) -> None:
    code = "from edgekit import board; print([board.load(n).name for n in board.shipped()])"
    shipped = sorted(path.stem for path in (ROOT / "boards").glob("*.toml"))
    assert succeed(core / "python", "-c", code).strip() == str(shipped)


def test_the_command_without_its_extra_names_the_extra(core: Path) -> None:
    done = run(core / "edgekit", "boards", "list")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pip install 'edgekit-core[operator]'" in done.stderr


def test_the_command_runs_with_the_operator_extra_alone(
    wheels: Wheels, environment: Environment
) -> None:
    operator = environment(f"{wheels['edgekit_core']}[operator]")
    assert edgekit.__version__ in succeed(operator / "edgekit", "--version")
    assert "raspberry-pi-4" in succeed(operator / "edgekit", "boards", "list")


def test_a_device_installs_exactly_what_was_decided(device: Path) -> None:
    code = (
        "import json, importlib.metadata as m;"
        "print(json.dumps([d.metadata['Name'] for d in m.distributions()]))"
    )
    installed = json.loads(succeed(device / "python", "-c", code))
    assert {re.sub(r"[-_.]+", "-", n).lower() for n in installed} == ON_THE_DEVICE


@pytest.mark.parametrize("module", NOWHERE_NEAR_IT)
def test_a_device_has_none_of_the_workstations_packages(device: Path, module: str) -> None:
    done = run(device / "python", "-c", f"import {module}")
    assert f"No module named '{module}'" in done.stderr


def test_every_module_of_the_agent_is_importable_on_a_device(device: Path) -> None:
    modules = succeed(device / "python", "-c", IMPORT_ALL, "edgekit_agent").split()
    assert "edgekit_agent.cli" in modules


def test_the_agents_command_says_its_version_on_a_device(device: Path) -> None:
    assert edgekit.__version__ in succeed(device / "edgekit-agent", "--version")


def test_the_converters_are_found_through_their_entry_point(
    wheels: Wheels, environment: Environment
) -> None:
    workstation = environment(wheels["edgekit_core"], wheels["edgekit_converters"])
    code = "from edgekit import conversion; print(conversion.installed().__module__)"
    found = succeed(workstation / "python", "-c", code)
    assert found.startswith("edgekit_converters")
