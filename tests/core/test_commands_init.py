import json
from pathlib import Path

import pytest

from edgekit.fleet import config as fleet_config
from edgekit.trust.repository import Repository
from tests.core.commands import inside, run

pytestmark = pytest.mark.slow  # founds fleets: a key takes a fifth of a second on purpose


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("init") / "plant"
    result = run(
        "init",
        str(folder),
        "--stages=production,canary",
        "--root-keys=3",
        "--root-threshold=2",
        "--registry=http://mlflow.example",
        "--board=raspberry-pi-4",
    )
    assert result.exit_code == 0, result.stderr
    return folder, result.stdout


def test_it_says_which_keys_to_take_offline(founded: tuple[Path, str]) -> None:
    folder, output = founded

    assert output == (
        f"founded the fleet plant in {folder}\n"
        "\n"
        "Take these keys offline now; no command of every day needs them:\n"
        f"  {folder}/keys/root-1.pem\n"
        f"  {folder}/keys/root-2.pem\n"
        f"  {folder}/keys/root-3.pem\n"
        f"  {folder}/keys/targets-1.pem\n"
        "Copy each to two media, then delete it here. Changing any key takes 2 root"
        " key(s):\n"
        "without them a lost or stolen key cannot be replaced.\n"
        "\n"
        "The models and stage keys sign releases: keep them where releases are made, a\n"
        "stage's with whoever may approve it. snapshot and timestamp stay here.\n"
        "\n"
        "Next: edgekit device enroll NAME --board BOARD --model MODEL"
        f" --fleet {folder}\n"
    )


def test_every_role_has_its_keys_and_threshold(founded: tuple[Path, str]) -> None:
    folder, _ = founded
    roles = Repository.open(folder / "repository").roles()

    assert {r.role: (len(r.keys.keys), r.keys.threshold) for r in roles} == {
        "root": (3, 2),
        "targets": (1, 1),
        "snapshot": (1, 1),
        "timestamp": (1, 1),
        "models": (1, 1),
        "stage-production": (1, 1),
        "stage-canary": (1, 1),
    }


def test_no_key_is_readable_without_the_passphrase(founded: tuple[Path, str]) -> None:
    folder, _ = founded
    for path in (folder / "keys").iterdir():
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_what_was_asked_for_is_written_down(founded: tuple[Path, str]) -> None:
    config = fleet_config.load(founded[0])

    assert {name: str(s) for name, s in config.stages.items()} == {
        "production": "stage:Production",
        "canary": "@canary",
    }
    assert config.registry.uri == "http://mlflow.example"
    assert config.release.boards == ("raspberry-pi-4",)


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    result = run("init", str(tmp_path))

    assert (result.exit_code, result.stderr) == (
        3,
        f"error: {tmp_path}: not empty; a new or empty folder is expected\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--root-keys=2", "--root-threshold=3"],
            "root: a threshold of 3 with 2 keys; a number from 1 to 2 is expected",
        ),
        (["--stages=a,a"], "stages 'a,a': different names are expected"),
        (["--stages= ,"], "stages ' ,': different names are expected"),
        (
            ["--broker=http://x"],
            "broker http://x: mqtt://host:port or mqtts://host:port is expected",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_a_key_is_made(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    result = run("init", str(tmp_path / "fleet"), *options)

    assert (result.exit_code, result.stderr) == (3, f"error: {sentence}\n")
    assert not (tmp_path / "fleet").exists()


def test_a_fleet_can_be_founded_where_one_stands(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    with inside(folder):
        result = run("init", ".", "--stages=production", "--json")

    document = json.loads(result.stdout)
    assert (document["fleet"], document["stages"]) == ("here", ["production"])
    assert fleet_config.load(folder).fleet == "here"
    assert [path.name for path in tmp_path.iterdir()] == ["here"], "nothing left beside"
