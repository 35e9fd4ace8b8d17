"""An arm64 userland for qemu's user emulation, made without a chroot and without root.

Debian's packages are only unpacked, wheels are unpacked by this machine's pip: nothing
arm64 runs meanwhile. `python -m tests.arm64.userland` makes it and prints its folder, in
which `zero2w`, `pi3`, `pi4` and `pi5` are each a Python on that board's processor.

Correctness only: emulated code is 17 to 100 times slower and takes twice the memory.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUITES = {"bookworm": "3.11", "trixie": "3.13"}  # Raspberry Pi OS follows both
_PACKAGES = "python{},libstdc++6,ca-certificates"
_PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)]
_TRIES = 3
_NOT_NEEDED = [
    *("dev", "var", "boot", "tmp"),
    *(f"usr/share/{name}" for name in ("doc", "man", "locale", "info", "perl5")),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """What qemu is told, and what /proc/cpuinfo says on that board.

    onnxruntime reads /proc/cpuinfo, and qemu 7.2 shows the host's. The A53 and A72 of the
    Raspberry Pi lack the AES and SHA instructions that qemu's have: `openssl` is OpenSSL's
    capability mask that keeps it from using them.
    """

    model: str
    part: str
    variant: str
    revision: int
    features: str
    openssl: int

    def cpuinfo(self) -> str:
        """Return /proc/cpuinfo of a board with four such cores."""
        core = {
            "BogoMIPS": "108.00",
            "Features": self.features,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": self.variant,
            "CPU part": self.part,
            "CPU revision": str(self.revision),
        }
        lines = "".join(f"{name}\t: {value}\n" for name, value in core.items())
        return "".join(f"processor\t: {number}\n{lines}\n" for number in range(4))


_OLD = "fp asimd evtstrm crc32 cpuid"
_NEW = "aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
_A53 = Processor(
    model="cortex-a53", part="0xd03", variant="0x0", revision=4, features=_OLD, openssl=1
)
BOARDS = {
    "zero2w": _A53,
    "pi3": _A53,
    "pi4": Processor(
        model="cortex-a72",
        part="0xd08",
        variant="0x0",
        revision=3,
        features=_OLD,
        openssl=1,
    ),
    "pi5": Processor(
        model="cortex-a76",
        part="0xd0b",
        variant="0x4",
        revision=1,
        features=f"{_OLD} {_NEW}",
        openssl=61,
    ),
}


def missing() -> str:
    """Say which program is not there, nothing when all are."""
    wanted = {"mmdebstrap": "mmdebstrap", _qemu(): "qemu-user-static"}
    lacking = [package for program, package in wanted.items() if not shutil.which(program)]
    if not lacking:
        return ""
    return f"no {' and no '.join(lacking)}; run: sudo apt-get install {' '.join(lacking)}"


def prepare(suite: str = "bookworm") -> Path:
    """Return the folder of a userland, made when there is none of this month."""
    python = SUITES[suite]
    requirements = device_requirements()
    key = hashlib.sha256(
        "\n".join(
            [Path(__file__).read_text("utf-8"), *requirements, time.strftime("%Y-%m")]
        ).encode()
    ).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgekit-arm64"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{suite}-{key}"
    with _locked(cache / f"{suite}.lock"):
        if folder.exists():
            return folder
        for old in cache.glob(f"*{suite}-*"):
            shutil.rmtree(old)
        making = cache / f".{suite}-{key}"
        making.mkdir()
        _unpack_system(making / "root", suite, python)
        install(making / "site", python, requirements)
        for name, processor in BOARDS.items():
            _board(making, name, processor, python)
        _check(making / "zero2w")
        making.rename(folder)
    return folder


def install(target: Path, python: str, what: Iterable[str]) -> None:
    """Unpack wheels for 64-bit ARM and glibc 2.28 into a folder, as pip would there."""
    platforms = [f"--platform={name}" for name in _PLATFORMS]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-compile", "--only-binary=:all:", "--implementation=cp"]
    place = [f"--python-version={python}", f"--target={target}"]
    subprocess.run([*pip, *options, *platforms, *place, *what], check=True)


def device_requirements() -> list[str]:
    """Return what a device installs besides edgekit's own wheels, sorted."""
    found: set[str] = set()
    for file in ("pyproject.toml", "agent/pyproject.toml"):
        project = tomllib.loads((ROOT / file).read_text("utf-8"))["project"]
        found.update(project["dependencies"])
    return sorted(line for line in found if not line.startswith("edgekit"))


def wheels(folder: Path) -> list[str]:
    """Build edgekit's own wheels for a device, and return their paths."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    projects = [str(ROOT), str(ROOT / "agent")]
    subprocess.run([*pip, "--no-deps", f"--wheel-dir={folder}", *projects], check=True)
    return sorted(str(path) for path in folder.glob("*.whl"))


def _qemu() -> str:
    return "qemu-aarch64-static" if shutil.which("qemu-aarch64-static") else "qemu-aarch64"


def _unpack_system(root: Path, suite: str, python: str) -> None:
    command = [
        *("mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract"),
        *(f"--include={_PACKAGES.format(python)}", "--aptopt=Acquire::Retries 5"),
        *(suite, str(root)),
    ]
    for attempt in range(1, _TRIES + 1):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        shutil.rmtree(root, ignore_errors=True)
        if attempt == _TRIES:
            raise RuntimeError(f"mmdebstrap: {done.stderr[-600:]}")
        time.sleep(5 * attempt)
    for name in ("bin", "sbin", "lib"):  # of the package base-files, which is not there
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    for name in _NOT_NEEDED:
        shutil.rmtree(root / name, ignore_errors=True)


def _board(folder: Path, name: str, processor: Processor, python: str) -> None:
    prefix = folder / "boards" / name
    (prefix / "proc").mkdir(parents=True)
    for entry in (folder / "root").iterdir():
        if entry.name != "proc":
            (prefix / entry.name).symlink_to(Path("../../root") / entry.name)
    (prefix / "proc" / "cpuinfo").write_text(processor.cpuinfo(), "ascii")
    wrapper = folder / name
    # -0 makes the wrapper sys.executable: what the agent starts is emulated, too.
    wrapper.write_text(
        f"""#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
unset VIRTUAL_ENV
export PYTHONHOME="$here/root/usr" PYTHONPYCACHEPREFIX="$here/compiled" LC_ALL=C.UTF-8
export PYTHONPATH="$here/site${{EDGEKIT_SITE:+:$EDGEKIT_SITE}}"
export OPENSSL_armcap={processor.openssl}
exec {shutil.which(_qemu())} -cpu {processor.model} -0 "$here/{name}" \\
  -L "$here/boards/{name}" "$here/root/usr/bin/python{python}" "$@"
""",
        "ascii",
    )
    wrapper.chmod(0o755)


def _check(wrapper: Path) -> None:
    code = "import platform, ssl, sqlite3; assert platform.machine() == 'aarch64'"
    subprocess.run([str(wrapper), "-c", code], check=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    if lacking := missing():
        sys.exit(lacking)
    sys.stdout.write(f"{prepare(*sys.argv[1:])}\n")
