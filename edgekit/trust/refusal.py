"""Say python-tuf's errors in edgekit's words, grouped by what the caller does next.

Knows no rules: what is refused is decided before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError

from edgekit.errors import EdgekitError, StoreError, TransportError, TrustError
from edgekit.trust.expiry import ExpiredError


class Current(Protocol):
    """Whatever knows which file is being read."""

    current: str


@contextmanager
def refusals(reading: Current) -> Iterator[None]:
    """Turn what python-tuf raises inside into TrustError, TransportError or StoreError."""
    try:
        yield
    except (RepositoryError, DownloadError) as error:
        raise translated(error, reading.current or "the trusted root") from error
    except OSError as error:
        raise StoreError(f"trusted metadata: cannot be kept: {error}") from error


def translated(error: RepositoryError | DownloadError, name: str) -> EdgekitError:
    """Return the error to raise for a file instead of python-tuf's."""
    match error:
        case ExpiredMetadataError():
            return ExpiredError(
                f"{error}; a date ahead of the clock is expected: renew the signature,"
                " or set the clock"
            )
        case DownloadLengthMismatchError():
            return TrustError(f"{name}: {error}, no such length was signed or allowed")
        case DownloadHTTPError():
            return TransportError(f"{name}: not offered at present, it is needed")
        case DownloadError():
            return TransportError(f"{name}: {error}")
        case _:
            return TrustError(f"{name}: {_fact(error)}")


def _fact(error: RepositoryError) -> str:
    match error:
        case UnsignedMetadataError():
            return f"{error}; enough keys of its role are expected"
        case BadVersionNumberError():
            return f"not the version that was promised: {error}"
        case LengthOrHashMismatchError():
            return (
                f"not the bytes that were signed for: {error}; they were altered, or an"
                " older file is being replayed"
            )
        case DeserializationError():
            return "damaged, signed metadata is expected"
        case _:
            return str(error)
