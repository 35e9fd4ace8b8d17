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
    `free_bytes` and `available_bytes` what disk and memory have left right now. `own_...`
    are this model's limits and what its bundles take; `neighbours` what each other model
    takes in the process that serves them all, onnxruntime not counted.
    """

    board: str
    isas: frozenset[str]
    onnxruntime: str
    model_ram_bytes: int
    model_flash_bytes: int
    used_bytes: int
    free_bytes: int
    available_bytes: int
    own_ram_bytes: int = 2**63
    own_flash_bytes: int = 2**63
    own_used_bytes: int = 0
    neighbours: Mapping[str, int] = field(default_factory=dict)
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
    ram_bytes, flash_bytes = entry.peak_rss_bytes, entry.length + entry.unpacked_bytes
    own = "is allowed for this model"
    return _first_over(
        ("RAM", ram_bytes, room.model_ram_bytes, "is allowed"),
        ("flash", flash_bytes, room.model_flash_bytes, "is allowed"),
        ("RAM", ram_bytes, room.own_ram_bytes, own),
        ("flash", flash_bytes, room.own_flash_bytes, own),
    )


def _not_now(entry: BundleEntry, room: Room) -> str | None:
    """Return why the entry does not fit at the moment, with numbers."""
    held_bytes = room.held.get(entry.sha256, 0)
    flash_bytes = max(0, entry.length + entry.unpacked_bytes - held_bytes)
    ram_bytes = entry.peak_rss_bytes
    left_bytes = room.model_flash_bytes - room.used_bytes
    own_left_bytes = room.own_flash_bytes - room.own_used_bytes
    others = ", ".join(f"{m} {n / _MB:.1f} MB" for m, n in room.neighbours.items())
    beside_bytes = room.model_ram_bytes - sum(room.neighbours.values())
    own = "is left beside this model's stored bundles"
    return _first_over(
        ("flash", flash_bytes, left_bytes, "is left beside stored bundles"),
        ("flash", flash_bytes, own_left_bytes, own),
        ("disk", flash_bytes, room.free_bytes, "is free"),
        ("RAM", ram_bytes, beside_bytes, f"is left beside {others}"),
        ("RAM", ram_bytes, room.available_bytes, "is free"),
    )


def _first_over(*bounds: tuple[str, int, int, str]) -> str | None:
    """Say what is needed and what there is, for the first bound that does not hold."""
    for what, needed, bound, has in bounds:
        if needed > bound:
            bound_mb = max(bound, 0) / _MB
            return f"{what}: it takes {needed / _MB:.1f} MB, {bound_mb:.1f} MB {has}"
    return None


def _version(text: str) -> tuple[int, ...]:
    """Return a version to compare with; "1.20" is older than "1.20.1"."""
    parts = []
    for part in text.split("."):
        digits = "".join(c for c in part if c.isdecimal())
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)
