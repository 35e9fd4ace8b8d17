import tomllib
from pathlib import Path

import pytest

from edgekit import board
from edgekit.errors import BoardError

FIGURES = (
    "cpu",
    "isa",
    "cores",
    "ram_mb",
    "model_ram_mb",
    "model_flash_mb",
    "onnxruntime",
    "speed",
)
ONNXRUNTIME_FLOOR_MB = 48  # onnxruntime and numpy, imported


def profile(**changes: object) -> str:
    """A whole profile as TOML, with some keys changed, or left out where None."""
    values: dict[str, object] = {
        "name": "mine",
        "title": "Mine",
        "arch": "aarch64",
        "cpu": "four cores",
        "isa": ["neon"],
        "cores": 4,
        "ram_mb": 1024,
        "model_ram_mb": 256,
        "model_flash_mb": 512,
        "onnxruntime": "1.20",
        "speed": 0.5,
        **changes,
    }
    lines = [f"{k} = {toml(v)}" for k, v in values.items() if v is not None]
    return "\n".join([*lines, "[sources]", 'cores = "counted"'])


def toml(value: object) -> str:
    """A literal as it stands in TOML: numbers as they are, texts quoted."""
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_the_promised_boards_are_shipped() -> None:
    assert set(board.shipped()) >= {
        "beaglebone-ai-64",
        "gateway-256mb",
        "generic-x86-64",
        "jetson-orin-nano",
        "raspberry-pi-3b-plus",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "raspberry-pi-zero-2-w",
    }


@pytest.mark.parametrize("name", board.shipped())
def test_every_shipped_profile_loads_and_is_named_as_its_file(name: str) -> None:
    assert board.load(name).name == name


@pytest.mark.parametrize("name", board.shipped())
def test_every_figure_of_a_shipped_profile_says_where_it_is_from(name: str) -> None:
    sources = board.load(name).sources
    assert set(sources) == set(FIGURES)
    assert all(len(source) > 3 for source in sources.values())


@pytest.mark.parametrize("name", board.shipped())
def test_a_shipped_budget_leaves_room_for_the_system_and_for_onnxruntime(name: str) -> None:
    loaded = board.load(name)
    assert ONNXRUNTIME_FLOOR_MB < loaded.model_ram_mb <= loaded.ram_mb / 2


def test_the_reference_board_has_speed_one() -> None:
    assert board.load("raspberry-pi-5").speed == 1


@pytest.mark.parametrize(
    ("name", "lacks"),
    [("raspberry-pi-zero-2-w", "dotprod"), ("raspberry-pi-4", "dotprod")],
)
def test_old_cores_do_not_claim_new_instructions(name: str, lacks: str) -> None:
    assert lacks not in board.load(name).isa


def test_a_profile_of_ones_own_is_read_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(profile())
    assert board.load(str(path)).model_ram_mb == 256


def test_a_misspelled_key_is_refused_with_its_nearest_spelling() -> None:
    text = profile(ram_mb=None, ram_mib=1024)
    with pytest.raises(BoardError, match=r"mine: unknown key ram_mib; did you mean ram_mb"):
        board.parse(text, subject="mine")


def test_a_source_for_no_figure_is_refused() -> None:
    with pytest.raises(BoardError, match=r"sources: unknown key core; did you mean cores"):
        board.parse(profile() + '\ncore = "?"', subject="mine")


def test_an_unknown_board_suggests_the_nearest() -> None:
    with pytest.raises(BoardError, match="did you mean raspberry-pi-5"):
        board.load("rasberry-pi-5")


def test_a_board_like_no_other_lists_all() -> None:
    with pytest.raises(BoardError, match=r"known: beaglebone-ai-64, gateway-256mb, .*"):
        board.load("zx81")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"arch": "armv7l"}, "mine: arch: one of aarch64, x86_64 is expected"),
        ({"cores": 0}, "mine: cores: a whole number from 1"),
        ({"cores": 2.5}, "mine: cores: a whole number is expected"),
        ({"ram_mb": None}, "mine: ram_mb: a whole number is expected"),
        ({"isa": "neon"}, "mine: isa: a list of texts is expected"),
        ({"speed": 0}, "mine: speed: a number above 0 is expected"),
        ({"speed": float("nan")}, "mine: speed: a finite number is expected"),
        ({"speed": float("inf")}, "mine: speed: a finite number is expected"),
        ({"onnxruntime": "latest"}, "mine: onnxruntime: a version such as"),
        ({"model_ram_mb": 2048}, r"model_ram_mb: at most ram_mb \(1024\) is expected"),
    ],
)
def test_a_figure_that_cannot_be_is_refused(
    changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(BoardError, match=complaint):
        board.parse(profile(**changes), subject="mine")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("name =")
    with pytest.raises(BoardError, match=r"mine\.toml: not TOML"):
        board.load(str(path))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BoardError, match=r"mine\.toml: cannot be read"):
        board.load(str(path))


def test_the_readme_has_a_row_for_every_field() -> None:
    readme = (Path(__file__).parents[2] / "boards" / "README.md").read_text("utf-8")
    for name in board.Board.__dataclass_fields__:
        assert f"| `{name}` |" in readme or f"| `[{name}]` |" in readme


def test_profiles_hold_nothing_but_what_the_type_knows() -> None:
    folder = Path(__file__).parents[2] / "boards"
    for path in folder.glob("*.toml"):
        table = tomllib.loads(path.read_text("utf-8"))
        fields = [f for f in board.Board.__dataclass_fields__ if f in table]
        assert list(table) == fields, path.name


def test_a_profile_may_allow_operators_beyond_onnx() -> None:
    assert board.parse(profile(), subject="mine").allow_domains == ()
    text = profile(allow_domains=["com.microsoft"])
    assert board.parse(text, subject="mine").allow_domains == ("com.microsoft",)


LATENCY = """
[latency]
factor = 7.5
overhead_us = 300
low = 7.0
high = 8
pairs = 12
devices = 3
"""


def test_a_profile_may_hold_what_devices_told_of_their_speed() -> None:
    assert board.parse(profile(), subject="mine").latency is None
    known = board.parse(profile() + LATENCY, subject="mine").latency
    assert known == board.Calibration(
        factor=7.5, overhead_us=300, low=7, high=8, pairs=12, devices=3
    )


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (LATENCY.replace("7.5", "0"), "mine: latency: factor: a number above 0"),
        (LATENCY.replace("pairs", "reports"), "mine: latency: unknown key reports"),
        (LATENCY.replace("devices = 3", "devices = 0"), "devices: a whole number from 1"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(wrong: str, complaint: str) -> None:
    with pytest.raises(BoardError, match=complaint):
        board.parse(profile() + wrong, subject="mine")


@pytest.mark.parametrize(
    ("arch", "isa", "saturates"),
    [
        ("x86_64", ["avx2"], True),
        ("x86_64", ["avx2", "vnni"], False),
        ("aarch64", ["neon"], False),
        ("aarch64", ["neon", "dotprod"], False),
    ],
)
def test_only_x86_without_vnni_saturates_products_of_uint8_and_int8(
    arch: str,
    isa: list[str],
    saturates: bool,  # noqa: FBT001 - a case
) -> None:
    mine = board.parse(profile(arch=arch, isa=isa), subject="mine")
    assert mine.saturates_u8s8 is saturates
