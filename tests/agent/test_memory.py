"""What is left for a process: the machine's memory, or that of its control groups."""

from pathlib import Path

import pytest

from edgekit_agent import memory

MB = 2**20
NAMES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    2: ("memory.max", "memory.current", ""),
}


def group(folder: Path, version: int, limit: int | str, used: int, pages: int) -> None:
    """Lay out what the kernel shows of one control group."""
    folder.mkdir(parents=True, exist_ok=True)
    names = NAMES[version]
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(
        f"anon 1\n{names[2]}inactive_file {pages - 1}\n{names[2]}active_file 1\nslab 2\n"
    )


@pytest.mark.parametrize(
    ("version", "membership"),
    [(2, "0::/system.slice/edgekit.service\n"), (1, "4:cpu,memory:/edgekit\n1:cpu:/\n")],
)
def test_a_control_groups_limit_counts_with_the_pages_it_could_give_back(
    tmp_path: Path, version: int, membership: str
) -> None:
    said = tmp_path / "cgroup"
    said.write_text(membership)
    names = {2: "system.slice/edgekit.service", 1: "memory/edgekit"}
    group(tmp_path / names[version], version, 256 * MB, 200 * MB, 30 * MB)
    assert list(memory.group_bytes(said, tmp_path)) == [86 * MB]


def test_every_group_around_a_process_counts(tmp_path: Path) -> None:
    said = tmp_path / "cgroup"
    said.write_text("0::/outer/inner\n")
    group(tmp_path / "outer" / "inner", 2, "max", 10 * MB, 1)
    group(tmp_path / "outer", 2, 128 * MB, 130 * MB, 1)
    assert list(memory.group_bytes(said, tmp_path)) == [0]


@pytest.mark.parametrize("text", ["", "garbage", "0::/gone\n", "7:pids:/a\n"])
def test_without_a_bound_nothing_is_counted(tmp_path: Path, text: str) -> None:
    said = tmp_path / "cgroup"
    said.write_text(text)
    assert list(memory.group_bytes(said, tmp_path)) == []
    assert list(memory.group_bytes(tmp_path / "none", tmp_path)) == []


def test_this_machine_says_what_it_has() -> None:
    assert memory.available_bytes() > 0


def test_what_a_process_has_for_itself_is_a_part_of_what_is_resident() -> None:
    held = bytearray(32 * MB)
    assert len(held) < memory.anonymous_bytes() < memory.rss_bytes()
