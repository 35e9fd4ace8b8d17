"""What a PyTorch archive would run, told without PyTorch: hostile files, made by hand."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import ConversionError
from edgekit_converters.intake import source, torch_archive
from edgekit_converters.intake.kind import Kind

GRAPH = {
    "graph_module": {
        "graph": {
            "nodes": [{"target": "torch.ops.aten.linear.default", "inputs": []}],
            "sizes": [{"expr_str": "Mul(Integer(24), Symbol('s77', positive=True))"}],
        }
    },
    "range_constraints": {"s77": {"min_val": 2}, "s77 // 2": {}},
}


class Springs:
    """A pickle that calls a function when it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("raise SystemExit",)


def program(
    folder: Path, graph: object = GRAPH, **members: bytes | dict[str, object]
) -> Path:
    """An exported program's archive, with more or other members."""
    path = folder / "model.pt2"
    plain: dict[str, object] = {
        "archive_format": b"pt2",
        "byteorder": b"little",
        "data/weights/weight_0": bytes(4_000),
        "data/weights/model_weights_config.json": {"config": {}},
        "models/model.json": graph,
        "data/sample_inputs/model.pt": saved(folder, b"\x80\x02}q\x00."),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**plain, **members}.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            archive.writestr(f"m/{name}", data)
    return path


def saved(folder: Path, pickled: bytes) -> bytes:
    """What torch.save makes of a pickle."""
    inner = folder / "inner.pt"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return inner.read_bytes()


def test_a_plain_program_runs_nothing(tmp_path: Path) -> None:
    path = program(tmp_path)
    assert source.read(path).kind is Kind.TORCH_PROGRAM
    assert torch_archive.code_in_program(path) is None


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.load",
        "torch.load",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.mine.run",
        "torch.ops.aten.linear.default.__class__",
        "os.system",
        "#triton",
        "math.__loader__",
        "_operator.methodcaller",
    ],
)
def test_a_call_out_of_the_operators_is_found(target: str, tmp_path: Path) -> None:
    path = program(tmp_path, {"nodes": [{"target": target, "inputs": []}]})
    assert torch_archive.code_in_program(path) == f"a call of {target}"


@pytest.mark.parametrize(
    "size",
    [
        "__import__('os').system('true')",
        "exec('1')",
        "s77.__class__",
        "(lambda: 1)()",
        "[1 for x in (1,)]",
        "Symbol('s77')[0]",
        "Symbol(\"__import__('os')\")",
        "open",
        "s77 +",
        "1" * 20_000,
        7,
    ],
)
def test_a_size_that_is_no_arithmetic_is_found(size: object, tmp_path: Path) -> None:
    as_size = program(tmp_path, {"any": [{"expr_str": size}]})
    assert torch_archive.code_in_program(as_size) == "a size that is no arithmetic"
    as_bound = program(tmp_path, {"range_constraints": {str(size): {}}})
    if not str(size).isdigit() or len(str(size)) > 10:
        assert torch_archive.code_in_program(as_bound) == "a size that is no arithmetic"


@pytest.mark.parametrize("protocol", range(6))
def test_code_among_the_sample_inputs_is_found(protocol: int, tmp_path: Path) -> None:
    hostile = saved(tmp_path, pickle.dumps(Springs(), protocol))
    path = program(tmp_path, **{"data/sample_inputs/model.pt": hostile})
    assert "exec in the pickle" in str(torch_archive.code_in_program(path))


def test_a_name_that_a_pickle_works_out_is_found(tmp_path: Path) -> None:
    # The names come from the memo, not from the line before.
    worked_out = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94Nh\x00h\x01\x93."
    hostile = saved(tmp_path, worked_out)
    path = program(tmp_path, **{"data/sample_inputs/model.pt": hostile})
    assert torch_archive.code_in_program(path) is not None


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("data/constants/custom_obj_0", b"x", "custom_obj_0"),
        ("data/aotinductor/model/model.so", b"\x7fELF", r"model.so"),
        ("data/weights/other.json", {"config": {"w": {"use_pickle": True}}}, "pickled"),
        ("models/other.json", {"in_spec": '{"__enum__": true}'}, "an enumeration"),
    ],
)
def test_other_ways_to_run_code_are_found(
    name: str, content: bytes | dict[str, object], found: str, tmp_path: Path
) -> None:
    path = program(tmp_path, **{name: content})
    assert found in str(torch_archive.code_in_program(path))


def test_a_member_that_is_there_twice_is_found(tmp_path: Path) -> None:
    path = program(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/Models/Model.json", b"{}")
    assert torch_archive.code_in_program(path) == "a member that is there twice"


@pytest.mark.parametrize(
    "members",
    [
        {"models/model.json": b"{"},
        {"models/model.json": b"[" * 100_000},
        {"data/sample_inputs/model.pt": b"PK\x03\x04"},
    ],
)
def test_a_damaged_program_is_a_clear_error(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=r"model\.pt2: a damaged archive"):
        torch_archive.code_in_program(program(tmp_path, **members))


def test_a_pickle_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"\x00")
    with pytest.raises(ConversionError, match=r"model\.pth: a damaged pickle"):
        source.read(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(80 * 2**20))
    with pytest.raises(ConversionError, match="this looks like a zip bomb"):
        source.read(path)
