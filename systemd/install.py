#!/usr/bin/env python3
"""Install the edgekit agent on a board, or upgrade it, from the folder of a device kit.

    sudo python3 install.py pi-7.toml

First it looks whether this system can run the agent at all. Then it makes the user edgekit,
a virtual environment in /opt/edgekit and the service, and prints each command that it runs;
--dry-run only prints them. Running it again upgrades: models and state stay as they are.

Needs Python's standard library only, and tells an old Python that it is too old.
"""

from __future__ import annotations  # for those

import argparse
import importlib.util
import os
import platform
import pwd
import shlex
import shutil
import struct
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).resolve().parent
USER = "edgekit"
UNIT = "edgekit-agent.service"
LEAST_PYTHON = (3, 11)
LEAST_GLIBC = (2, 28)  # onnxruntime's wheels are manylinux_2_28
WORD_BITS = 64
PLATFORMS = ("linux-aarch64", "linux-x86_64")
NEEDED_BYTES = 300_000_000  # 133 MB of packages, and as much again while pip unpacks them
REFUSED, FAILED = 2, 1


@dataclass(frozen=True)  # kw_only came with 3.10
class System:
    """What there is to run the agent on."""

    platform: str  # sysconfig's: a 32-bit userland under a 64-bit kernel says aarch64, too
    bits: int
    libc: str  # "glibc", empty for others
    libc_version: str
    python: tuple[int, int]
    has_venv: bool
    has_systemd: bool
    is_root: bool
    free_bytes: int


@dataclass(frozen=True)  # kw_only came with 3.10
class Places:
    """Where things go."""

    environment: Path
    configuration: Path
    units: Path

    @property
    def program(self) -> Path:
        """The agent's program, once it is installed."""
        return self.environment / "bin" / "edgekit-agent"

    @property
    def settings(self) -> Path:
        """The provisioning file that the agent reads."""
        return self.configuration / "agent.toml"


def look(environment: Path) -> System:
    """Look at this system."""
    libc, version = platform.libc_ver()
    standing = next(path for path in (environment, *environment.parents) if path.exists())
    return System(
        platform=sysconfig.get_platform(),
        bits=struct.calcsize("P") * 8,
        libc=libc,
        libc_version=version,
        python=sys.version_info[:2],
        has_venv=importlib.util.find_spec("ensurepip") is not None,
        has_systemd=Path("/run/systemd/system").is_dir(),
        is_root=os.geteuid() == 0,
        free_bytes=shutil.disk_usage(standing).free,
    )


def refusals(system: System, *, service: bool) -> Iterator[str]:
    """Say what keeps the agent from running here, and what to do about it."""
    if system.bits != WORD_BITS:
        yield (
            f"userland: {system.bits}-bit ({system.platform}), whatever the kernel is;"
            " onnxruntime has wheels for 64-bit systems only: install a 64-bit system"
        )
    elif system.platform not in PLATFORMS:
        yield (
            f"platform: {system.platform}; onnxruntime has wheels for"
            f" {' and '.join(PLATFORMS)}"
        )
    if system.libc != "glibc":
        yield (
            f"C library: {system.libc or 'not glibc'}; onnxruntime's wheels need glibc:"
            " use Raspberry Pi OS, Debian or Ubuntu rather than Alpine"
        )
    elif _numbers(system.libc_version) < LEAST_GLIBC:
        yield (
            f"C library: glibc {system.libc_version}; onnxruntime's wheels need 2.28 or"
            " newer: upgrade to Debian 10 or Ubuntu 20.04, or newer"
        )
    if system.python < LEAST_PYTHON:
        yield (
            f"Python: {system.python[0]}.{system.python[1]}; 3.11 or newer is expected:"
            " Raspberry Pi OS bookworm has it"
        )
    elif not system.has_venv:
        yield "Python: it cannot make virtual environments: apt-get install python3-venv"
    if service and not system.has_systemd:
        yield "systemd: it does not run here; --no-service installs without it"
    if service and not system.is_root:
        yield "rights: not root, who alone can install a service: use sudo"
    if system.free_bytes < NEEDED_BYTES:
        yield (
            f"disk: {system.free_bytes // 10**6} MB free, {NEEDED_BYTES // 10**6} MB are"
            " needed while packages are unpacked"
        )


def commands(
    places: Places, kit: Path, settings: Path, *, service: bool, has_user: bool
) -> Iterator[tuple[str, ...]]:
    """Yield what is to be run, in order; all of it may be run again."""
    wheels = sorted(str(path) for path in kit.glob("wheels/edgekit_*.whl"))
    others = any(not path.name.startswith("edgekit_") for path in kit.glob("wheels/*.whl"))
    if service and not has_user:
        yield ("useradd", "--system", "--home-dir", "/var/lib/edgekit", "--shell",
               "/usr/sbin/nologin", USER)  # fmt: skip
    if not (places.environment / "bin" / "python").exists():
        yield (sys.executable, "-m", "venv", str(places.environment))
    pip = (str(places.environment / "bin" / "python"), "-m", "pip", "install")
    offline = ("--no-index", f"--find-links={kit / 'wheels'}") if others else ()
    yield (*pip, "--quiet", "--disable-pip-version-check", "--upgrade", *offline, *wheels)
    yield ("install", "-d", "-m", "755", str(places.configuration))
    owner = ("-o", "root", "-g", USER) if service else ()
    yield ("install", *owner, "-m", "640", str(settings), str(places.settings))
    key = receipt_key(settings)
    if key is not None:
        place = str(places.configuration / key.name)
        yield ("install", *owner, "-m", "640", str(key), place)
    if service:
        yield ("install", "-m", "644", str(kit / UNIT), str(places.units / UNIT))
        yield ("systemctl", "daemon-reload")
        yield ("systemctl", "enable", "--quiet", UNIT)
        yield ("systemctl", "restart", UNIT)


def receipt_key(settings: Path) -> Path | None:
    """Return the key that a provisioning file names, where it lies beside it."""
    import tomllib  # noqa: PLC0415 - came with 3.11

    try:
        named = tomllib.loads(settings.read_text("utf-8")).get("receipt_key_file")
    except (OSError, ValueError):
        return None
    if not isinstance(named, str) or Path(named).name != named:
        return None
    beside = settings.parent / named
    return beside if beside.is_file() else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Install; return the exit code: 0 done, 1 a command failed, 2 nothing was begun."""
    options = _options(arguments)
    places = Places(
        environment=options.environment,
        configuration=options.configuration,
        units=options.units,
    )
    service = not options.no_service
    reasons = list(refusals(look(places.environment), service=service))
    reasons += [] if reasons else _papers(options.settings, options.kit)
    if reasons:
        for reason in reasons:
            sys.stderr.write(f"install: {reason}\n")
        sys.stderr.write("install: nothing was changed\n")
        return REFUSED
    has_user = any(entry.pw_name == USER for entry in pwd.getpwall())
    for command in commands(
        places, options.kit, options.settings, service=service, has_user=has_user
    ):
        sys.stdout.write(f"$ {shlex.join(command)}\n")
        sys.stdout.flush()
        if not options.dry_run and subprocess.run(command, check=False).returncode:  # noqa: S603 - commands of this file
            sys.stderr.write("install: the command above failed; mend it and run again\n")
            return FAILED
    if not options.dry_run:
        sys.stdout.write(_what_next(places, service=service))
    return 0


def _papers(settings: Path, kit: Path) -> Iterator[str]:
    import tomllib  # noqa: PLC0415 - came with 3.11

    try:
        told = tomllib.loads(settings.read_text("utf-8"))
    except (OSError, ValueError) as error:
        yield f"{settings}: {error}; the file that `edgekit device enroll` made is expected"
    else:
        if not isinstance(told.get("device"), str):
            yield f"{settings}: it names no device; `edgekit device enroll` makes it"
    for name in ("core", "agent"):
        if not list(kit.glob(f"wheels/edgekit_{name}-*.whl")):
            yield f"{kit / 'wheels'}: no edgekit_{name}-*.whl; `make kit` packs it"
    if not (kit / UNIT).is_file():
        yield f"{kit}: no {UNIT}; `make kit` packs it"


def _what_next(places: Places, *, service: bool) -> str:
    if not service:
        run = f"{places.program} run --config {places.settings}"
        return f"installed; run it with:\n  {run}\n"
    doctor = f"sudo -u {USER} {places.program} doctor"
    return (
        "installed and started; watch it, and ask why when nothing arrives:\n"
        f"  journalctl -u edgekit-agent -f\n  {doctor}\n"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    summary, _, rest = str(__doc__).partition("\n")
    parser = argparse.ArgumentParser(
        prog="install.py",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("settings", type=Path, metavar="DEVICE.toml", help="from `edgekit device enroll`")
    add("--dry-run", action="store_true", help="print the commands, run none")
    add("--no-service", action="store_true", help="no user and no service: containers")
    add("--environment", type=Path, default=Path("/opt/edgekit"), metavar="FOLDER")
    add("--configuration", type=Path, default=Path("/etc/edgekit"), metavar="FOLDER")
    add("--units", type=Path, default=Path("/etc/systemd/system"), help=argparse.SUPPRESS)
    add("--kit", type=Path, default=HERE, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
