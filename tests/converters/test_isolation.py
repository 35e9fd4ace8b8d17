"""Models that current libraries cannot load, converted among their own."""

import json
import zipfile
from pathlib import Path

import pytest
import yaml

from edgekit import board
from edgekit.conversion import ConversionRequest, Isolation
from edgekit.errors import ConversionError
from edgekit.manifest import ModelIdentity
from edgekit_converters import environments
from edgekit_converters.environments import NoEnvironmentError
from edgekit_converters.intake.requirements import Pin, Requirements
from edgekit_converters.native import isolation
from edgekit_converters.native.extract import extract
from edgekit_converters.native.isolation import OLDEST, OWN, attempts
from tests.converters import old_eras
from tests.converters.natives import answers, assert_same

IDENTITY = ModelIdentity(name="m", version="1", run_id="r", source_sha256="0" * 64)
TOOLS = ("onnx>=1.16", "skl2onnx>=1.16")


def pinned(*names: str, python: str = "") -> Requirements:
    pins = [name.split("==") for name in names]
    return Requirements(
        pins=tuple(Pin(name=name, version=version) for name, version in pins), python=python
    )


def test_the_models_own_python_is_tried_first_and_the_nearest_versions_last() -> None:
    found = pinned("scikit-learn==1.0.2", python="3.12")
    tried = attempts(found, TOOLS, (OWN, OLDEST, "3.12"))
    assert [(a.python, a.nearest) for a in tried] == [
        ("3.12", False),
        (OWN, False),
        (OLDEST, False),
        (OWN, True),
    ]
    assert "scikit-learn==1.0.2" in tried[0].requirements
    assert "scikit-learn>=1.0.2" in tried[-1].requirements


def test_a_python_that_is_not_here_or_too_old_is_not_tried() -> None:
    absent = attempts(pinned(python="3.12"), TOOLS, (OWN,))
    assert [a.python for a in absent] == [OWN, OWN]
    too_old = attempts(pinned(python="3.8"), TOOLS, (OWN, "3.8"))
    assert [a.python for a in too_old] == [OWN, OWN]


def test_edgekits_own_tools_are_not_the_models_to_choose() -> None:
    found = pinned("mlflow==1.30.0", "onnx==1.2", "onnxruntime==0.5", "skops==0.9")
    (exact, _) = attempts(found, TOOLS, (OWN,))
    names = [line.split("==")[0] for line in exact.requirements]
    assert "mlflow" not in names
    assert "onnxruntime" not in names
    assert "skops==0.9" in exact.requirements
    assert "onnx==1.2" not in exact.requirements


def test_what_an_old_model_did_not_pin_is_kept_old() -> None:
    (exact, _) = attempts(pinned("scikit-learn==1.2.2"), TOOLS, (OWN,))
    assert "numpy>=1.21,<2" in exact.requirements
    (pinning, _) = attempts(pinned("scikit-learn==1.2.2", "numpy==1.26.4"), TOOLS, (OWN,))
    assert "numpy>=1.21,<2" not in pinning.requirements
    (new, _) = attempts(pinned("scikit-learn==1.7.0"), TOOLS, (OWN,))
    assert not any(line.startswith("numpy") for line in new.requirements)


def unloadable(folder: Path, requirements: str | None = "scikit-learn==1.2.2") -> Path:
    home = folder / "model"
    home.mkdir()
    home.joinpath("model.pkl").write_bytes(b"\x80\x04cgone.with_the_wind\nModel\n.")
    document = {
        "flavors": {"sklearn": {"pickled_model": "model.pkl", "sklearn_version": "1.2.2"}}
    }
    home.joinpath("MLmodel").write_text(yaml.safe_dump(document), "utf-8")
    if requirements is not None:
        home.joinpath("requirements.txt").write_text(requirements, "utf-8")
    return home


def request(
    model: Path, isolate: Isolation = Isolation.AUTO, *, trust_pickle: bool = True
) -> ConversionRequest:
    return ConversionRequest(
        model_folder=model,
        identity=IDENTITY,
        boards=[board.load("raspberry-pi-4")],
        out=model.parent / "out",
        trust_pickle=trust_pickle,
        isolate=isolate,
    )


def work(folder: Path) -> Path:
    path = folder / "work"
    path.mkdir()
    return path


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """No index answers; what was asked for is kept."""
    asked: list[tuple[str, ...]] = []

    def refuse(wanted: tuple[str, ...], *_: object, **__: object) -> Path:
        asked.append(wanted)
        raise NoEnvironmentError("no wheels of gone")

    monkeypatch.setattr(environments, "environment", refuse)
    return asked


@pytest.mark.slow
def test_never_means_never(tmp_path: Path, no_environment: list[tuple[str, ...]]) -> None:
    asked = request(unloadable(tmp_path), Isolation.NEVER)
    with pytest.raises(ConversionError, match=r"cannot load it .*saved with .* 1\.2\.2"):
        extract(asked, work(tmp_path), lambda _: None)
    assert no_environment == []


@pytest.mark.slow
def test_without_wheels_both_troubles_and_a_next_step_are_told(
    tmp_path: Path, no_environment: list[tuple[str, ...]]
) -> None:
    wanted = (
        r"cannot load it .* and the environment .*no wheels of gone.*log the model again"
    )
    with pytest.raises(ConversionError, match=wanted.replace("log", "[Ll]og")):
        extract(request(unloadable(tmp_path)), work(tmp_path), lambda _: None)
    assert "scikit-learn==1.2.2" in no_environment[0]


@pytest.mark.slow
def test_without_requirements_the_first_trouble_is_told(
    tmp_path: Path, no_environment: list[tuple[str, ...]]
) -> None:
    with pytest.raises(ConversionError, match="cannot load it"):
        extract(request(unloadable(tmp_path, None)), work(tmp_path), lambda _: None)
    assert no_environment == []


def test_always_needs_a_model_that_says_what_it_needs(tmp_path: Path) -> None:
    asked = request(unloadable(tmp_path, None), Isolation.ALWAYS)
    with pytest.raises(ConversionError, match=r"no requirements\.txt or conda\.yaml"):
        extract(asked, work(tmp_path), lambda _: None)


def test_always_is_not_for_kinds_that_need_no_packages(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08")
    with pytest.raises(ConversionError, match="without the packages it was made with"):
        extract(request(path, Isolation.ALWAYS), work(tmp_path), lambda _: None)


def test_pytorch_is_not_installed_a_second_time(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/archive_format", "pt2")
    with pytest.raises(ConversionError, match=r"gigabytes.*torch\.export\.save"):
        extract(request(path, Isolation.ALWAYS), work(tmp_path), lambda _: None)


def test_untrusted_models_have_nothing_installed(
    tmp_path: Path, no_environment: list[tuple[str, ...]]
) -> None:
    asked = request(unloadable(tmp_path), Isolation.ALWAYS, trust_pickle=False)
    with pytest.raises(ConversionError, match="--trust-pickle"):
        extract(asked, work(tmp_path), lambda _: None)
    assert no_environment == []


@pytest.mark.slow
def test_hostile_lines_are_told_and_reach_no_installer(
    tmp_path: Path, no_environment: list[tuple[str, ...]]
) -> None:
    lines = "--index-url https://evil.example\ngit+https://evil.example/x\nscipy==1.11.4\n"
    said: list[str] = []
    asked = request(unloadable(tmp_path, lines), Isolation.ALWAYS)
    with pytest.raises(ConversionError):
        extract(asked, work(tmp_path), said.append)
    assert any("left out: --index-url https://evil.example, git+" in line for line in said)
    assert not any("evil" in line for wanted in no_environment for line in wanted)


@pytest.fixture(scope="session")
def old_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of each era, logged by its own MLflow where its Python is here."""
    try:
        return {
            era: old_eras.made(era, tmp_path_factory.mktemp("old"))
            for era in old_eras.ERAS
            if old_eras.is_possible(era)
        }
    except NoEnvironmentError as error:
        pytest.skip(f"{error}; a package index must be reachable")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model", ["forest", "boosting"])
@pytest.mark.parametrize("era", old_eras.ERAS)
def test_an_old_model_is_converted_among_its_own_packages(
    era: str, model: str, old_models: dict[str, Path], tmp_path: Path
) -> None:
    if era not in old_models:
        pytest.skip(f"its Python is not here: uv python install {old_eras.ERAS[era][0]}")
    folder = old_models[era] / model
    said: list[str] = []
    found = extract(request(folder), tmp_path, said.append)
    assert found.tools["environment"] == "isolated"
    assert f"scikit-learn=={found.tools['scikit-learn']}" in old_eras.ERAS[era][1]
    wanted = json.loads(Path(f"{folder}.answers.json").read_text("utf-8"))
    assert_same(answers(found), found.original)
    got = found.original.prediction
    assert not isinstance(got, dict)
    assert got.tolist() == wanted
    assert any("saved with scikit-learn" in line for line in said)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_environment_holds_edgekit_only_while_it_is_lent(
    old_models: dict[str, Path], tmp_path: Path
) -> None:
    era = "mlflow 2.9, scikit-learn 1.2"
    asked = request(old_models[era] / "forest", Isolation.ALWAYS)
    found = extract(asked, tmp_path, lambda _: None)
    assert found.tools["scikit-learn"] == "1.2.2"
    held = isolation.packages(
        next(environments.cache_folder().glob("*/bin/python"))  # any of them
    )
    assert not {"edgekit-core", "edgekit-converters"} & set(held)
