"""The Debian package: built, twice the same; installed, upgraded, removed and purged.

Needs a package index for making it, and Debian's servers for a throw-away root; installing
gets neither.
"""

import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = "3.11"  # bookworm's
MACHINE = os.uname().machine
PACKAGED_AT = 1767225600  # 2026-01-01
INCLUDED = "python3,systemd-standalone-sysusers,ca-certificates,libstdc++6"
STATE, SETTINGS = Path("var/lib/edgekit"), Path("etc/edgekit/agent.toml")

SOURCES = ("edgekit", "agent", "boards", "scripts", "systemd")
FILES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("dpkg-deb") is None, reason="no dpkg-deb: sudo apt-get install dpkg"
    ),
    pytest.mark.skipif(
        MACHINE not in {"x86_64", "aarch64"}, reason="no wheels for this machine"
    ),
]


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
    )


def sources(folder: Path) -> Path:
    """Copy what the package is made of: nobody edits the copy meanwhile."""
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


def packed(folder: Path, out: Path, **environment: str) -> Path:
    subprocess.run(
        [str(folder / "scripts" / "pack-deb"), sys.executable, str(out), MACHINE, PYTHON],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(PACKAGED_AT), **environment},
    )
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def package(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(snapshot, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian bookworm as a board has it, small."""
    if os.geteuid() != 0:
        pytest.skip("a root for dpkg is root's: sudo")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("no mmdebstrap: sudo apt-get install mmdebstrap")
    root = tmp_path_factory.mktemp("debian") / "root"
    made = run(
        *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDED}"),
        *("--aptopt=Acquire::Retries 5", "bookworm", str(root)),
    )
    if made.returncode:
        pytest.skip(f"no Debian root: Debian's servers: {made.stderr[-300:]}")
    return root


def dpkg(root: Path, *arguments: str) -> None:
    done = run("dpkg", f"--root={root}", *arguments)
    assert done.returncode == 0, done.stderr


def inside(root: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run in the root, which has no network and its own /proc."""
    script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    return run("unshare", "--mount", "--net", "sh", "-c", script, str(root), *command)


def leftovers(root: Path) -> Sequence[str]:
    found = (path.relative_to(root) for path in root.rglob("*edgekit*"))
    return sorted(map(str, found))


def test_a_board_installs_upgrades_removes_and_purges_it(
    package: Path, debian: Path
) -> None:
    before = leftovers(debian)
    dpkg(debian, "--install", str(package))
    told = inside(debian, "edgekit-agent", "--version")
    assert told.stdout.startswith("edgekit-agent "), told.stderr
    lacking = inside(debian, "edgekit-agent", "doctor")
    assert (lacking.returncode, lacking.stderr[:36]) == (
        3,
        "error: /etc/edgekit/agent.toml: no s",
    )

    example = debian / "usr/share/doc/edgekit-agent/examples/agent.toml"
    shutil.copy(example, debian / SETTINGS)
    (debian / SETTINGS).chmod(0o644)
    (debian / STATE).mkdir(exist_ok=True)
    (debian / STATE / "kept").touch()
    doctor = inside(debian, "runuser", "-u", "edgekit", "--", "edgekit-agent", "doctor")
    assert "onnxruntime" in doctor.stdout, doctor.stderr
    assert "Traceback" not in doctor.stderr

    dpkg(debian, "--install", str(package))
    assert inside(debian, "edgekit-agent", "--version").stdout == told.stdout

    dpkg(debian, "--remove", "edgekit-agent")
    assert not (debian / "usr/lib/edgekit-agent").exists()
    assert (debian / SETTINGS).exists()
    assert (debian / STATE / "kept").exists()

    dpkg(debian, "--purge", "edgekit-agent")
    dpkg(debian, "--purge", "edgekit-agent")  # which is nothing to do
    assert leftovers(debian) == before


def test_nothing_in_it_tells_who_packed_it_or_when(package: Path) -> None:
    listed = run("dpkg-deb", "--contents", str(package)).stdout.splitlines()
    assert len(listed) > 1000
    for line in listed:
        _, owner, _, day, _, name, *_ = line.split()
        assert (owner, day) == ("root/root", "2026-01-01"), line
        assert not name.endswith("direct_url.json")


def test_it_is_the_same_to_the_byte_wherever_and_whenever_it_is_packed(
    package: Path, snapshot: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(snapshot, elsewhere, copy_function=shutil.copy)  # other times
    for path in elsewhere.rglob("*"):
        path.chmod(0o700 if path.is_dir() or os.access(path, os.X_OK) else 0o600)
    again = packed(elsewhere, tmp_path / "deb", TZ="Asia/Tokyo", LC_ALL="C")
    assert again.name == package.name
    same = filecmp.cmp(again, package, shallow=False)
    told = run("sh", "-c", DIFFERENCE, "sh", str(package), str(again))
    assert same, told.stdout


DIFFERENCE = """
for one in "$1" "$2"; do dpkg-deb --fsys-tarfile "$one" | tar --list --verbose; done |
    sort | uniq --unique
"""


@pytest.mark.skipif(
    shutil.which("lintian") is None, reason="no lintian: sudo apt-get install lintian"
)
def test_debians_own_checker_has_no_complaint(package: Path) -> None:
    told = run("lintian", "--allow-root", "--fail-on=error,warning", str(package))
    assert (told.returncode, told.stdout) == (0, ""), told.stderr
