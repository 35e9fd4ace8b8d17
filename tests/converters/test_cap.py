"""Where a memory cgroup is made, on folders that look like the kernel's."""

from pathlib import Path

import pytest

from edgekit_converters.verdict.cap import capped

_MB = 2**20


def laid_out(folder: Path, own: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A cgroup file system and the file that says where this process stands in it."""
    root = folder / "cgroup"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "ascii")
    place = folder / "own"
    place.write_text(own, "ascii")
    return root, place


def test_version_2_takes_the_nearest_folder_that_hands_memory_down(tmp_path: Path) -> None:
    root, own = laid_out(
        tmp_path,
        "0::/user.slice/app.slice/shell.scope\n",
        {
            "user.slice/cgroup.subtree_control": "memory pids",
            "user.slice/app.slice/cgroup.subtree_control": "cpu memory",
            "user.slice/app.slice/shell.scope/cgroup.subtree_control": "",
        },
    )
    with capped(96 * _MB, root=root, own=own) as group:
        # The kernel would have put memory.max there; here version 1's file is written.
        assert group is not None
        assert group.folder.parent == root / "user.slice" / "app.slice"
        limit = group.folder / "memory.limit_in_bytes"
        assert limit.read_text("ascii") == str(96 * _MB)


def test_version_1_makes_the_group_below_this_process_own(tmp_path: Path) -> None:
    root, own = laid_out(
        tmp_path, "4:memory:/job/7\n0::/\n", {"memory/job/7/cgroup.procs": ""}
    )
    with capped(64 * _MB, root=root, own=own) as group:
        assert group is not None
        assert group.folder.parent == root / "memory" / "job" / "7"


@pytest.mark.parametrize("own", ["", "0::/somewhere\n", "3:cpu:/job\n"])
def test_without_the_memory_controller_there_is_no_group(tmp_path: Path, own: str) -> None:
    root, place = laid_out(tmp_path, own, {"somewhere/cgroup.subtree_control": "pids"})
    with capped(64 * _MB, root=root, own=place) as group:
        assert group is None


@pytest.mark.parametrize(
    ("name", "content", "killed"),
    [
        ("memory.events", "low 0\noom 1\noom_kill 1\n", True),
        ("memory.events", "low 0\noom 0\noom_kill 0\n", False),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", True),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", False),
    ],
)
def test_a_kill_is_told_by_both_versions(
    tmp_path: Path,
    name: str,
    content: str,
    killed: bool,  # noqa: FBT001 - a case
) -> None:
    root, own = laid_out(tmp_path, "4:memory:/\n", {"memory/cgroup.procs": ""})
    with capped(64 * _MB, root=root, own=own) as group:
        assert group is not None
        assert not group.killed()
        (group.folder / name).write_text(content, "ascii")
        assert group.killed() is killed
