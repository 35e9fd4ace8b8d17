"""What a device states about what serves there, to be signed with its own key.

Knows no keys, clock or broker: JSON bytes in, frozen values out, and back. It is signed and
checked in edgekit.trust.receipt; docs/formats/wire.md is its page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.document import Reader, canonical_json
from edgekit.errors import TransportError

FORMAT = 1
TYPE = "receipt"
MAX_MODELS = 64
MAX_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One bundle that answers for a model. `since`: UTC, "" where the device cannot say."""

    model: str
    stage: str
    version: str
    flavor: str
    sha256: str
    rollout: int
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """All that serves on one device at a moment; (boot_id, seq) names it for ever."""

    fleet: str
    device: str
    boot_id: str
    seq: int
    at: str
    models: tuple[Served, ...]
    extra: Mapping[str, object] = field(default_factory=dict)

    def to_table(self) -> dict[str, object]:
        """Return the JSON object that is signed."""
        return {
            **self.extra,
            "_type": TYPE,
            "format": FORMAT,
            "fleet": self.fleet,
            "device": self.device,
            "boot_id": self.boot_id,
            "seq": self.seq,
            "at": self.at,
            "models": [
                {
                    "model": one.model,
                    "stage": one.stage,
                    "version": one.version,
                    "flavor": one.flavor,
                    "sha256": one.sha256,
                    "rollout": one.rollout,
                    "since": one.since,
                }
                for one in self.models
            ],
        }

    def to_json(self) -> bytes:
        """Encode canonically: these are the bytes that are signed."""
        return canonical_json(self.to_table())

    @classmethod
    def from_json(cls, data: bytes) -> "Receipt":
        """Parse the object that is signed, or raise TransportError."""
        return read(Reader.from_json(data, subject=TYPE, error=TransportError))


_KNOWN = frozenset({"_type", "format", *Receipt.__dataclass_fields__} - {"extra"})


def read(reader: Reader) -> Receipt:
    """Read the object that is signed, or raise the reader's error."""
    if reader.text("_type") != TYPE:
        reader.fail("_type", f'"{TYPE}"')
    reader.integer("format", least=FORMAT, most=FORMAT)
    models = reader.children("models")
    if len(models) > MAX_MODELS:
        reader.fail("models", f"a list of up to {MAX_MODELS} objects")
    return Receipt(
        fleet=_text(reader, "fleet"),
        device=_text(reader, "device"),
        boot_id=_text(reader, "boot_id"),
        seq=reader.integer("seq", least=1),
        at=_text(reader, "at"),
        models=tuple(map(_served, models)),
        extra=reader.rest(_KNOWN),
    )


def _served(reader: Reader) -> Served:
    return Served(
        model=_text(reader, "model"),
        stage=_text(reader, "stage"),
        version=_text(reader, "version"),
        flavor=_text(reader, "flavor"),
        sha256=reader.sha256("sha256"),
        rollout=reader.integer("rollout"),
        since=_text(reader, "since"),
    )


def _text(reader: Reader, key: str) -> str:
    """Return a text that is safe to print on the operator's terminal."""
    text = reader.text(key)
    if len(text) > MAX_CHARACTERS or not text.isprintable():
        reader.fail(key, f"a printable text of up to {MAX_CHARACTERS} characters")
    return text
