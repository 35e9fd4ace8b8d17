"""Signed metadata in a file that somebody sent. Knows no files and believes nothing.

What cannot be read, is of another kind or cannot be signed is a TrustError.
"""

import json

from tuf.api.exceptions import RepositoryError
from tuf.api.serialization import DeserializationError, SerializationError

from edgekit.document import Reader
from edgekit.errors import TrustError
from edgekit.trust.layout import FLEET_FIELD
from edgekit.trust.payload import Metadata, Root, Targets

Signable = Metadata[Root] | Metadata[Targets]


def document(metadata: Signable) -> object:
    """Return metadata as the JSON object that stands in a proposal."""
    return json.loads(metadata.to_bytes())


def root_in(reader: Reader, *, subject: str) -> Metadata[Root]:
    """Return the root metadata in an object."""
    return root_from(_bytes(reader), subject=subject)


def root_from(data: bytes, *, subject: str) -> Metadata[Root]:
    """Return the root metadata in bytes."""
    try:
        metadata = Metadata[Root].from_bytes(data)
    except DeserializationError as error:
        raise TrustError(f"{subject}: no signed root metadata") from error
    if not isinstance(metadata.signed, Root):
        raise TrustError(f"{subject}: no root metadata")
    if FLEET_FIELD not in metadata.signed.unrecognized_fields:
        raise TrustError(f"{subject}: it names no fleet")
    _refuse_unsignable(metadata, subject=subject)
    return metadata


def targets_in(reader: Reader, role: str) -> Metadata[Targets]:
    """Return the metadata of a targets role in an object."""
    try:
        metadata = Metadata[Targets].from_bytes(_bytes(reader))
    except DeserializationError as error:
        raise TrustError(f"proposal: {role}: no signed metadata") from error
    if not isinstance(metadata.signed, Targets):
        raise TrustError(f"proposal: {role}: it is {metadata.signed.type} metadata")
    _refuse_unsignable(metadata, subject=f"proposal: {role}")
    return metadata


def check_signed(delegator: Root | Targets, role: str, metadata: Signable) -> None:
    """Raise TrustError unless what a proposal stands on is signed for its delegator."""
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise TrustError(
            f"proposal: {role}: what it stands on is not rightly signed"
        ) from error


def _refuse_unsignable(metadata: Signable, *, subject: str) -> None:
    """What is signed is canonical JSON, which has no fractions."""
    try:
        _ = metadata.signed_bytes
    except SerializationError as error:
        raise TrustError(f"{subject}: not canonical JSON, nobody can sign it") from error


def _bytes(reader: Reader) -> bytes:
    return json.dumps(dict(reader.table)).encode()
