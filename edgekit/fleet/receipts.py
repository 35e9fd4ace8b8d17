"""Whether a receipt is believed, and whether it says what the device reports. Pure.

A device counts its lives (the part of `boot_id` behind the dash) and its receipts in each;
its clock may be wrong. So a receipt is newer by those numbers, and by its time only where
a device lost count.
"""

from dataclasses import dataclass
from enum import StrEnum

from edgekit.errors import TrustError
from edgekit.fleet.model_state import ModelState
from edgekit.receipt import Receipt, Served
from edgekit.trust.receipt import verify


class Standing(StrEnum):
    """What a device's signature says about what it reports of one model."""

    NOT_ASKED = ""  # enrolled without a key
    NONE = "none"  # a key is pinned, and no receipt was heard yet
    SIGNED = "signed"  # the receipt says just what is reported
    DIFFERS = "differs"
    WENT_BACK = "went back"  # starts are counted as if there had been fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a device signed about one model, beside what it reports. `at`: UTC, or ""."""

    standing: Standing
    at: str = ""
    sentence: str = ""


UNSIGNED = Signed(standing=Standing.NOT_ASKED)


def accept(
    payload: bytes, *, pinned: bytes | None, last: Receipt | None, fleet: str, device: str
) -> Receipt:
    """Return a receipt that this device signed after the last one, or raise TrustError."""
    if pinned is None:
        raise TrustError("receipt: no key of this device is pinned; enroll it again")
    receipt = verify(payload, pinned)
    if (receipt.fleet, receipt.device) != (fleet, device):
        raise TrustError(f"receipt: of device {receipt.device} of fleet {receipt.fleet}")
    reason = replayed(last, receipt) if last else ""
    if reason:
        raise TrustError(reason)
    return receipt


def replayed(last: Receipt, new: Receipt) -> str:
    """Return why `new` is no news after `last`, "" where it is."""
    if new.boot_id == last.boot_id:
        known = f"receipt {new.seq} of {new.boot_id}, {last.seq} is known: a replay"
        return "" if new.seq > last.seq else known
    lives = _life(last.boot_id), _life(new.boot_id)
    counted = lives[0] is not None and lives[1] is not None and lives[0] != lives[1]
    later = (lives[1] or 0) > (lives[0] or 0) if counted else new.at > last.at
    return (
        ""
        if later
        else (
            f"receipt of {new.boot_id}, {last.boot_id} is known: a replay, or a device that"
            " lost its state folder; enroll that one again"
        )
    )


def compared(
    pinned: bytes | None, receipt: Receipt | None, state: ModelState, *, boot_id: str
) -> Signed:
    """Hold what a device reports of a model, in the life `boot_id`, against what it signed.

    `pinned` is its public key, None where it was enrolled without one.
    """
    if pinned is None:
        return UNSIGNED
    if receipt is None:
        return Signed(standing=Standing.NONE, sentence="no receipt yet")
    if sentence := _went_back(receipt, boot_id):
        return Signed(standing=Standing.WENT_BACK, at=receipt.at, sentence=sentence)
    said = _said(receipt, state)
    reported = state.current
    same = (said is None) == (reported is None) and (
        said is None or reported is None or said.sha256 == reported.sha256
    )
    at = receipt.at
    if same:
        return Signed(standing=Standing.SIGNED, at=at, sentence=f"signed, {at}")
    signed = f"version {said.version} ({said.sha256[:12]})" if said else "nothing"
    told = f"version {reported.version}" if reported else "nothing"
    sentence = f"DIFFERS: signed {signed} at {at}, reports {told}"
    return Signed(standing=Standing.DIFFERS, at=at, sentence=sentence)


def _went_back(receipt: Receipt, boot_id: str) -> str:
    """Return why nothing that is signed from now on is believed, "" where it is."""
    signed, reported = _life(receipt.boot_id), _life(boot_id)
    if signed is None or reported is None or boot_id == receipt.boot_id:
        return ""
    if reported > signed:
        return ""
    return (
        f"WENT BACK: signed as start {signed}, reports start {reported}: its state folder"
        " was wiped or put back, or it is a copy; `edgekit device enroll --again`"
    )


def _said(receipt: Receipt, state: ModelState) -> Served | None:
    wanted = (state.model, state.stage)
    return next((one for one in receipt.models if (one.model, one.stage) == wanted), None)


def _life(boot_id: str) -> int | None:
    number = boot_id.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdecimal() else None
