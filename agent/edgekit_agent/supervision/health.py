"""How the machine is: temperature, throttling, load, free disk. Reads /proc and /sys.

What a machine does not tell is None: most have no sign of throttling, virtual ones no
temperature.
"""

import os
from pathlib import Path

from edgekit.telemetry.window import Health
from edgekit_agent import memory

_THERMAL = Path("/sys/class/thermal")
_CPU_ZONES = ("cpu", "soc", "x86_pkg")  # how the zones of processors are called
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")  # Raspberry Pi's
_THROTTLED_NOW = 0xF  # under-voltage, capped, throttled, soft limit; higher bits: ever
_COLDEST_C, _HOTTEST_C = -60.0, 200.0  # a sensor beyond is broken


def sample(folder: Path, *, worker_rss_bytes: int) -> Health:
    """Return how the machine is now; the free space is that for `folder`."""
    return Health(
        supervisor_rss_bytes=memory.rss_bytes(),
        worker_rss_bytes=worker_rss_bytes,
        cpu_c=cpu_c(),
        throttled=throttled(),
        disk_free_bytes=_free_bytes(folder),
        load=_load(),
    )


def cpu_c(thermal: Path = _THERMAL) -> float | None:
    """Return the temperature of the hottest processor zone, in degrees Celsius."""
    found = [
        celsius
        for zone in sorted(thermal.glob("thermal_zone*"))
        if _text(zone / "type").lower().startswith(_CPU_ZONES)
        and (celsius := _celsius(_text(zone / "temp"))) is not None
    ]
    return max(found, default=None)


def throttled(path: Path = _THROTTLED) -> bool | None:
    """Return whether the firmware slows the processor down right now."""
    try:
        return bool(int(_text(path), 16) & _THROTTLED_NOW)
    except ValueError:
        return None


def _celsius(text: str) -> float | None:
    try:
        celsius = int(text) / 1000
    except ValueError:
        return None
    return celsius if _COLDEST_C <= celsius <= _HOTTEST_C else None


def _free_bytes(folder: Path) -> int | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _text(path: Path) -> str:
    """Return what a file of the kernel says, "" where it says nothing."""
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
