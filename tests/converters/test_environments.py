"""Environments are whole or absent. The installers are real where marked slow."""

import os
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from edgekit_converters import environments
from edgekit_converters.environments import NoEnvironmentError, cached, environment


def silent(_: str) -> None:
    """Progress for nobody."""


@pytest.mark.slow
def test_an_environment_without_requirements_beyond_pip_is_built_once(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    # A wheel of our own: nothing is fetched.
    wheel = tiny_wheel(tmp_path / "wheels")
    wanted = [f"tiny @ {wheel.as_uri()}"]
    assert cached(wanted, cache=tmp_path / "cache") is None
    python = environment(wanted, said.append, cache=tmp_path / "cache")
    assert environment(wanted, said.append, cache=tmp_path / "cache") == python
    assert cached(wanted, cache=tmp_path / "cache") == python
    assert len(said) == 1
    assert "cached" in said[0]
    seen = subprocess.run(
        [python, "-c", "import tiny, sys; print(tiny.answer, sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    ).stdout.split()
    assert seen == ["42", str(python.parents[1])]
    assert {entry.name for entry in (tmp_path / "cache").iterdir()} == {
        python.parents[1].name
    }


@pytest.mark.slow
def test_what_cannot_be_installed_leaves_nothing_and_is_not_tried_again_at_once(
    tmp_path: Path,
) -> None:
    wanted = [f"tiny @ {(tmp_path / 'tiny-1-py3-none-any.whl').as_uri()}"]
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(NoEnvironmentError, match=r"^tiny @ .*: cannot be installed"):
            environment(wanted, said.append, cache=tmp_path / "cache")
    assert len(said) == 1
    left = list((tmp_path / "cache").iterdir())
    assert [entry.suffix for entry in left] == [".trouble"]
    old = time.time() - 3_600
    os.utime(left[0], (old, old))
    with pytest.raises(NoEnvironmentError):
        environment(wanted, said.append, cache=tmp_path / "cache")
    assert len(said) == 2


def test_the_cache_lies_where_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environments.cache_folder() == tmp_path / "edgekit" / "environments"


def test_the_order_of_the_requirements_does_not_matter_but_the_python_does(
    tmp_path: Path,
) -> None:
    first = environments._place(["a==1", "b==2"], "3.11", tmp_path)  # noqa: SLF001 - the key
    assert environments._place(["b==2", "a==1"], "3.11", tmp_path) == first  # noqa: SLF001
    assert environments._place(["a==1", "b==2"], "3.9", tmp_path) != first  # noqa: SLF001


def tiny_wheel(folder: Path) -> Path:
    """A wheel of one module, made by hand."""

    folder.mkdir()
    path = folder / "tiny-1-py3-none-any.whl"
    about = "tiny-1.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.py", "answer = 42\n")
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n"
        )
        wheel.writestr(
            f"{about}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{about}/RECORD", "")
    return path
