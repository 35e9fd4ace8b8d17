"""The Debian package: built; installed, upgraded, removed and purged in a throw-away root.

Needs a package index and Debian's servers for making them; installing gets neither.
"""

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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="a root for dpkg is root's: sudo"),
    pytest.mark.skipif(
        shutil.which("mmdebstrap") is None or shutil.which("dpkg-deb") is None,
        reason="no mmdebstrap: sudo apt-get install mmdebstrap dpkg",
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


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deb")
    subprocess.run(
        [str(ROOT / "scripts" / "pack-deb"), sys.executable, str(out), MACHINE, PYTHON],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(PACKAGED_AT)},
    )
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian bookworm as a board has it, small."""
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
