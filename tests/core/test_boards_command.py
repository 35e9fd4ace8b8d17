import json
from pathlib import Path

from click.testing import CliRunner, Result

from edgekit import board
from edgekit.cli import main


def edgekit(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_list_prints_one_line_for_each_board_under_a_heading() -> None:
    result = edgekit("boards", "list")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].split()[:2] == ["NAME", "ARCH"]
    assert [line.split()[0] for line in lines[1:]] == list(board.shipped())


def test_list_as_json_holds_every_field_of_every_board() -> None:
    profiles = json.loads(edgekit("boards", "list", "--json").stdout)
    assert [profile["name"] for profile in profiles] == list(board.shipped())
    assert set(profiles[0]) == set(board.Board.__dataclass_fields__)


def test_show_prints_each_figure_with_its_unit_and_its_source() -> None:
    result = edgekit("boards", "show", "raspberry-pi-4")
    assert result.exit_code == 0
    assert result.stdout.startswith("raspberry-pi-4: Raspberry Pi 4 Model B, 2 GB\n")
    assert "\n  ram_mb          2048 MB\n" in result.stdout
    for source in board.load("raspberry-pi-4").sources.values():
        assert source in result.stdout


def test_show_as_json_holds_the_profile() -> None:
    shown = json.loads(edgekit("boards", "show", "gateway-256mb", "--json").stdout)
    assert shown["model_ram_mb"] == board.load("gateway-256mb").model_ram_mb
    assert shown["isa"] == ["neon"]


def test_show_reads_a_file_of_ones_own(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "boards" / "raspberry-pi-5.toml"
    path = tmp_path / "mine.toml"
    path.write_text(shipped.read_text("utf-8").replace("raspberry-pi-5", "mine"))
    assert edgekit("boards", "show", str(path)).stdout.startswith("mine: Raspberry Pi 5")


def test_an_unknown_board_is_one_line_on_standard_error_and_exit_code_6() -> None:
    result = edgekit("boards", "show", "rasberry-pi-4")
    assert result.exit_code == 6
    assert result.stdout == ""
    assert result.stderr == (
        "error: board rasberry-pi-4: no such profile; did you mean raspberry-pi-4?\n"
    )
