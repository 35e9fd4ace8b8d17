"""What this machine is: userland, C library, onnxruntime, memory, clock.

The judgements are pure; `look` asks the machine.
"""

import platform
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from datetime import UTC, datetime

from edgekit.errors import AdmissionError
from edgekit.trust.floor import Floor
from edgekit_agent import machine, memory
from edgekit_agent.config import Config
from edgekit_agent.diagnosis.finding import Finding, fine, note, trouble
from edgekit_agent.staleness import Staleness

LEAST_GLIBC = (2, 28)  # onnxruntime's wheels are manylinux_2_28
WORD_BITS = 64
_MB = 2**20
_IMPORT_S = 120.0
_IMPORT = "import onnxruntime; onnxruntime.InferenceSession"
_CONSEQUENCES = {
    Staleness.REFUSE: "nothing new is taken, what serves goes on",
    Staleness.ACCEPT: "news is still taken where signed times allow it",
    Staleness.STOP: "no request is answered until they are fresh",
}
_PLATFORMS = {"aarch64": "linux-aarch64", "x86_64": "linux-x86_64"}


def look(settings: Config, floor: datetime) -> Iterator[Finding]:
    """Look at the machine; `floor` is the newest signed time this device has seen."""
    yield userland(
        sysconfig.get_platform(), struct.calcsize("P") * 8, settings.arch or "64-bit"
    )
    yield c_library(*platform.libc_ver())
    yield _onnxruntime()
    yield ram(memory.available_bytes(), settings.limits.model_ram_bytes)
    yield clock(datetime.now(UTC), floor)


def userland(name: str, bits: int, arch: str) -> Finding:
    """Judge the platform that Python reports; `arch` is the board's."""
    if bits != WORD_BITS:
        return trouble(
            "userland",
            f"{bits}-bit ({name}), also under a 64-bit kernel",
            "install a 64-bit system: onnxruntime has no wheels for this one",
        )
    if arch in _PLATFORMS and name != _PLATFORMS[arch]:
        return note(
            "userland",
            f"{name}, the board was said to be {arch}",
            "enroll it with the board it is",
        )
    return fine("userland", f"{name}, {bits}-bit")


def c_library(name: str, version: str) -> Finding:
    """Judge the C library; `name` is empty where it is not glibc."""
    if name != "glibc":
        return trouble(
            "C library",
            f"{name or 'not glibc'}",
            "a system with glibc is expected: onnxruntime has no wheels for musl",
        )
    parts = tuple(int(part) for part in version.split(".")[:2])
    if parts < LEAST_GLIBC:
        least = ".".join(str(part) for part in LEAST_GLIBC)
        return trouble(
            "C library",
            f"glibc {version}",
            f"a system with glibc {least} or newer is expected, Debian 10 or later",
        )
    return fine("C library", f"glibc {version}")


def ram(available_bytes: int, limit_bytes: int) -> Finding:
    """Judge what memory is free, against what models may take."""
    fact = (
        f"{available_bytes / _MB:,.0f} MB free, models may take {limit_bytes / _MB:,.0f} MB"
    )
    if available_bytes < limit_bytes:
        return note(
            "memory", fact, "a flavor that needs more than is free waits: 'not now'"
        )
    return fine("memory", fact)


def clock(now: datetime, floor: datetime) -> Finding:
    """Judge the clock, against the newest signed time this device has seen."""
    if now < floor:
        return note(
            "clock",
            f"{now:%Y-%m-%d %H:%M}, before the newest signed time {floor:%Y-%m-%d %H:%M}",
            "the signed time is believed instead; set the clock if its log is to be read",
        )
    return fine("clock", f"{now:%Y-%m-%d %H:%M} UTC")


def freshness(now: datetime, floor: Floor, policy: Staleness) -> Finding:
    """Judge whether it is still known what is newest, by the last refresh."""
    if floor.fresh_until is None:
        return note("freshness", "no signatures were accepted here yet")
    until = f"{floor.fresh_until:%Y-%m-%d %H:%M}"
    if not floor.is_stale(now):
        return fine("freshness", f"the last signatures accepted hold until {until} UTC")
    return trouble(
        "freshness",
        f"the last signatures accepted expired on {until} UTC; {_CONSEQUENCES[policy]}",
        "`edgekit keys renew` on the operator's machine, and a depot that this device"
        " reaches; or set the clock if it is wrong",
    )


def _onnxruntime() -> Finding:
    """Import it in a child: a wheel for another processor dies of a signal."""
    try:
        version = machine.onnxruntime()
    except AdmissionError as error:
        return trouble("onnxruntime", str(error), "install edgekit-agent again")
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-P", "-c", _IMPORT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_IMPORT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return trouble(
            "onnxruntime",
            f"{version} did not load within {_IMPORT_S:g} s",
            "see whether the disk is failing, or memory is short",
        )
    if done.returncode == 0:
        return fine("onnxruntime", f"{version} loads")
    said = done.stderr.strip().splitlines()
    how = f"signal {-done.returncode}" if done.returncode < 0 else (said or ["?"])[-1]
    return trouble(
        "onnxruntime",
        f"{version} does not load here: {how}",
        "install another version of it: pip install --upgrade onnxruntime",
    )
