"""Read what a device says: bounded, printable, or refused with TransportError. Pure."""

from edgekit.document import Reader
from edgekit.errors import TransportError

FORMAT = 1
MAX_BYTES = 64 * 1024
MAX_MODELS = 64
MAX_CHARACTERS = 1_000


def opened(payload: bytes, subject: str) -> Reader:
    """Return the reader of a message."""
    if len(payload) > MAX_BYTES:
        raise TransportError(
            f"{subject}: {len(payload)} bytes, up to {MAX_BYTES} are expected"
        )
    reader = Reader.from_json(payload, subject=subject, error=TransportError)
    reader.integer("format", FORMAT, least=FORMAT)
    return reader


def text(reader: Reader, key: str, default: str | None = None) -> str:
    """Return a text that is safe to print on the operator's terminal."""
    found = reader.text(key, default)
    if len(found) > MAX_CHARACTERS or not found.isprintable():
        reader.fail(key, f"a printable text of up to {MAX_CHARACTERS} characters")
    return found


def optional_text(reader: Reader, key: str) -> str:
    """Return a text, "" where there is none."""
    return text(reader, key) if reader.has(key) else ""


def line(reader: Reader, key: str) -> str:
    """Return a text of any length and kind as the beginning of one printable line."""
    found = reader.text(key, "")[:MAX_CHARACTERS]
    return "".join(c if c.isprintable() else " " for c in found)
