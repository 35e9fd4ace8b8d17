"""Choose the bundle this device can hold and run, before a byte of it is fetched.

Pure: signed figures and the device's own in, a choice or a refusal with numbers out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgekit.errors import AdmissionError
from edgekit.statement import BundleEntry

_MB = 2**20


class NoRoomNow(AdmissionError):  # noqa: N818 - a state that passes, not an error
    """It fits this device, but not at the moment: free space or memory is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a device has. `used_bytes`: all bundles stored now, partial ones included.

    `held` says for some digests how much of them that is: it need not be found twice.
    `model_ram_bytes` and `model_flash_bytes` are the limits of the provisioning file,
    `free_bytes` and `available_bytes` what disk and memory have left right now.
    """

    board: str
    isas: frozenset[str]
    onnxruntime: str
    model_ram_bytes: int
    model_flash_bytes: int
    used_bytes: int
    free_bytes: int
    available_bytes: int
    held: Mapping[str, int] = field(default_factory=dict)


def choose(subject: str, entries: Sequence[BundleEntry], room: Room) -> BundleEntry:
    """Return the best entry that fits: the one made for this board, else the smallest.

    Raises AdmissionError when none ever fits, NoRoomNow when one would with more free
    space or memory; the message says for each flavor by how much.
    """
    ranked = sorted(entries, key=lambda entry: _rank(entry, room))
    reasons = []
    passing = False
    for entry in ranked:
        never, now = _never(entry, room), _not_now(entry, room)
        if never is None and now is None:
            return entry
        passing = passing or never is None
        reasons.append(f"{entry.flavor}: {never or now}")
    error = NoRoomNow if passing else AdmissionError
    raise error(f"{subject}: nothing fits this device: {'; '.join(reasons)}")


def _rank(entry: BundleEntry, room: Room) -> tuple[bool, int, int, str]:
    """Made for this board first, then by memory, then by bytes to fetch."""
    made_for_it = room.board in entry.boards
    return not made_for_it, entry.peak_rss_bytes, entry.length, entry.flavor


def _never(entry: BundleEntry, room: Room) -> str | None:
    """Return why the entry does not fit whatever happens, with numbers."""
    if entry.isas and not room.isas.intersection(entry.isas):
        has = ", ".join(sorted(room.isas)) or "none of them"
        return f"it needs {' or '.join(entry.isas)}, this processor has {has}"
    if _version(room.onnxruntime) < _version(entry.min_onnxruntime):
        return f"it needs onnxruntime {entry.min_onnxruntime}, {room.onnxruntime} is here"
    if entry.peak_rss_bytes > room.model_ram_bytes:
        return _short("RAM", entry.peak_rss_bytes, "is allowed", room.model_ram_bytes)
    flash_bytes = entry.length + entry.unpacked_bytes
    if flash_bytes > room.model_flash_bytes:
        return _short("flash", flash_bytes, "is allowed", room.model_flash_bytes)
    return None


def _not_now(entry: BundleEntry, room: Room) -> str | None:
    """Return why the entry does not fit at the moment, with numbers."""
    held_bytes = room.held.get(entry.sha256, 0)
    flash_bytes = max(0, entry.length + entry.unpacked_bytes - held_bytes)
    unused_bytes = room.model_flash_bytes - room.used_bytes
    if flash_bytes > unused_bytes:
        return _short("flash", flash_bytes, "is left beside stored bundles", unused_bytes)
    if flash_bytes > room.free_bytes:
        return _short("disk", flash_bytes, "is free", room.free_bytes)
    if entry.peak_rss_bytes > room.available_bytes:
        return _short("RAM", entry.peak_rss_bytes, "is free", room.available_bytes)
    return None


def _short(what: str, needed: int, has: str, bound: int) -> str:
    return f"{what}: it takes {needed / _MB:.1f} MB, {max(bound, 0) / _MB:.1f} MB {has}"


def _version(text: str) -> tuple[int, ...]:
    """Return a version to compare with; "1.20" is older than "1.20.1"."""
    parts = []
    for part in text.split("."):
        digits = "".join(c for c in part if c.isdecimal())
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)
