"""What is taken of a model's requirements, and what is left to its author."""

from pathlib import Path

import pytest

from edgekit.errors import ConversionError
from edgekit_converters.intake import requirements
from edgekit_converters.intake.requirements import Pin


def written(folder: Path, text: str) -> Path:
    folder.joinpath("requirements.txt").write_text(text, "utf-8")
    return folder


def test_plain_pins_are_taken(tmp_path: Path) -> None:
    text = "mlflow==2.22.1\nScikit_Learn == 1.2.2  # as trained\n\ntorch==2.0.1+cpu\n"
    found = requirements.read(written(tmp_path, text))
    assert found is not None
    assert [str(pin) for pin in found.pins] == [
        "mlflow==2.22.1",
        "scikit-learn==1.2.2",
        "torch==2.0.1",
    ]
    assert found.left_out == ()


def test_extras_are_kept(tmp_path: Path) -> None:
    found = requirements.read(written(tmp_path, "mlflow[extras, jfrog]==2.9.2"))
    assert found is not None
    assert found.pins == (Pin(name="mlflow", version="2.9.2", extras="[extras,jfrog]"),)


@pytest.mark.parametrize(
    "line",
    [
        "-r ../../etc/passwd",
        "-e .",
        "--index-url https://evil.example/simple",
        "--extra-index-url=https://evil.example/simple",
        "--find-links /tmp",
        "git+https://evil.example/numpy",
        "numpy @ https://evil.example/numpy.whl",
        "numpy @ file:///srv/numpy.whl",
        "./numpy",
        "/srv/numpy.whl",
        "numpy==1.26.4; python_version < '3.12'",
        "numpy==1.26.4; touch /tmp/sprung",
        "numpy==1.26.4 --hash=sha256:00",
        "numpy==1.26.4 --index-url https://evil.example",
        "numpy==$(touch sprung)",
        "numpy==1.*",
        "numpy>=1.26",
        "numpy",
        "-numpy==1.26.4",
        "numpy==1.26.4\x00",
        "numpy[extra==1.26.4",
    ],
)
def test_whatever_is_no_plain_pin_is_left_out(line: str, tmp_path: Path) -> None:
    found = requirements.read(written(tmp_path, f"{line}\nscipy==1.11.4\n"))
    assert found is not None
    assert [pin.name for pin in found.pins] == ["scipy"]
    assert found.left_out == (line.strip(),)


CONDA = """
channels: [conda-forge]
dependencies:
- python=3.8.13
- pip<=22
- scikit-learn=1.0.1
- pip:
  - mlflow
  - cloudpickle==2.2.1
"""


def test_conda_yaml_serves_where_there_is_no_requirements_file(tmp_path: Path) -> None:
    tmp_path.joinpath("conda.yaml").write_text(CONDA, "utf-8")
    found = requirements.read(tmp_path)
    assert found is not None
    assert [str(pin) for pin in found.pins] == ["cloudpickle==2.2.1"]
    assert found.left_out == ("mlflow",)
    assert found.python == "3.8"


def test_the_python_of_the_model_is_told(tmp_path: Path) -> None:
    tmp_path.joinpath("python_env.yaml").write_text("python: 3.10.4\n", "utf-8")
    tmp_path.joinpath("conda.yaml").write_text(CONDA, "utf-8")
    found = requirements.read(written(tmp_path, "scipy==1.11.4"))
    assert found is not None
    assert found.python == "3.10"


@pytest.mark.parametrize("said", ["2.7", "3.8; touch x", "/usr/bin/python", "[1]", "~"])
def test_a_strange_python_is_no_python(said: str, tmp_path: Path) -> None:
    tmp_path.joinpath("python_env.yaml").write_text(f"python: {said}\n", "utf-8")
    found = requirements.read(written(tmp_path, ""))
    assert found is not None
    assert found.python == ""


def test_a_model_that_asks_for_nothing_is_told_so(tmp_path: Path) -> None:
    assert requirements.read(tmp_path) is None
    tmp_path.joinpath("conda.yaml").write_text("- a list", "utf-8")
    assert requirements.read(tmp_path) is None


def test_endless_or_damaged_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = written(tmp_path, "scipy==1.11.4\n" * 2_000)
    with pytest.raises(ConversionError, match="2000 lines"):
        requirements.read(home)
    monkeypatch.setattr(requirements, "MAX_BYTES", 10)
    with pytest.raises(ConversionError, match="more than 10 bytes"):
        requirements.read(home)
    home.joinpath("requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConversionError, match="cannot be read"):
        requirements.read(home)
    home.joinpath("requirements.txt").unlink()
    home.joinpath("conda.yaml").write_text("a: [", "utf-8")
    with pytest.raises(ConversionError, match="not YAML"):
        requirements.read(home)
