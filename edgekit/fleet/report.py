"""What a device says about itself: reported state and presence.

Pure: JSON bytes in, frozen values out. Devices are not trusted to be well: whatever is
oversize, malformed or not printable is refused with TransportError, which the book
counts. docs/formats/wire.md is the page of these messages; fields that it does not know
are no error, and the book keeps the bytes as they came.
"""

from dataclasses import dataclass

from edgekit.fleet.model_state import ModelState, model_state
from edgekit.fleet.words import MAX_MODELS, opened, optional_text, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A device's reported state; `seq` counts its reports since `boot_id` began.

    `stale`: the signatures it knows have expired on `fresh_until`, by its clock.
    """

    device: str
    board: str
    agent: str
    onnxruntime: str
    boot_id: str
    seq: int
    at: str
    models: tuple[ModelState, ...]
    fresh_until: str = ""
    stale: bool = False

    @classmethod
    def from_json(cls, payload: bytes) -> "Report":
        """Parse, or raise TransportError."""
        reader = opened(payload, "reported state")
        models = reader.children("models", optional=True)
        if len(models) > MAX_MODELS:
            reader.fail("models", f"a list of up to {MAX_MODELS} objects")
        return cls(
            device=text(reader, "device"),
            board=text(reader, "board", ""),
            agent=text(reader, "agent", ""),
            onnxruntime=text(reader, "onnxruntime", ""),
            boot_id=text(reader, "boot_id"),
            seq=reader.integer("seq"),
            at=text(reader, "at"),
            models=tuple(map(model_state, models)),
            fresh_until=optional_text(reader, "fresh_until"),
            stale=reader.flag("stale", default=False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether a device is connected; a last will does not know the rest."""

    online: bool
    boot_id: str
    at: str

    @classmethod
    def from_json(cls, payload: bytes) -> "Presence":
        """Parse, or raise TransportError."""
        reader = opened(payload, "presence")
        return cls(
            online=reader.flag("online"),
            boot_id=text(reader, "boot_id", ""),
            at=text(reader, "at", ""),
        )
