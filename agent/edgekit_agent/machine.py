"""What this machine is: its vector extensions and its onnxruntime. Knows no model.

The names are those of the board profiles (boards/README.md), the sources /proc/cpuinfo
and the installed package's metadata: nothing heavy is imported to ask.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekit.errors import AdmissionError

_CPUINFO = Path("/proc/cpuinfo")
_KEYS = ("Features", "flags")  # Arm's word and x86's
_NAMES: Mapping[str, str] = {
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
    "avx2": "avx2",
    "avx512_vnni": "vnni",
    "avx_vnni": "vnni",
}


def isas(cpuinfo: str | None = None) -> frozenset[str]:
    """Return the vector extensions of this processor, or of one described by a text."""
    text = _CPUINFO.read_text("utf-8", "replace") if cpuinfo is None else cpuinfo
    for line in text.splitlines():
        key, _, words = line.partition(":")
        if key.strip() in _KEYS:
            return frozenset(_NAMES[word] for word in words.split() if word in _NAMES)
    return frozenset()


def onnxruntime() -> str:
    """Return the version of the installed onnxruntime."""
    try:
        return version("onnxruntime")
    except PackageNotFoundError as error:
        raise AdmissionError(
            "onnxruntime: not installed here; pip install edgekit-agent brings it"
        ) from error
