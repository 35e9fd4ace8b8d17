"""Signed metadata in a file that somebody sent. Knows no files and believes nothing.

What cannot be read, is of another kind or cannot be signed is a TrustError.
"""

import json
from collections.abc import Collection, Iterable
from datetime import datetime

from tuf.api.exceptions import RepositoryError
from tuf.api.serialization import DeserializationError, SerializationError

from edgekit.document import Reader
from edgekit.errors import ConfigError, TrustError
from edgekit.trust.generation import Generation
from edgekit.trust.layout import FLEET_FIELD, ROOT, short
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


def check_root(trusted: bytes, root: Metadata[Root]) -> None:
    """Raise TrustError unless `root` is the trusted one, or one that it signed later."""
    known = root_from(trusted, subject="root")
    if known.signed == root.signed:
        return
    if root.signed.version <= known.signed.version:
        raise TrustError(
            f"proposal: it stands on root {root.signed.version}, a newer one or the one"
            f" named, {known.signed.version}, is expected; have it proposed again"
        )
    try:
        known.signed.verify_delegate(ROOT, root.signed_bytes, root.signatures)
    except (RepositoryError, ValueError) as error:
        raise TrustError(
            "proposal: it stands on another root than the one named; a proposal of"
            " that fleet is expected"
        ) from error


def refuse_other_fleet(root: Metadata[Root], current: Generation) -> None:
    """Raise ConfigError where a proposal was made for another fleet than this."""
    named, here = (
        one.signed.unrecognized_fields[FLEET_FIELD] for one in (root, current.root)
    )
    if named != here:
        raise ConfigError(
            f"proposal: it is of the fleet {named}, one of the fleet {here} is expected"
        )


def refuse_expired(role: str, expires: datetime, now: datetime) -> None:
    """Raise ConfigError for what devices would refuse for its date."""
    if expires <= now:
        raise ConfigError(
            f"{role}: what is proposed expired on {expires:%Y-%m-%d}, a date to come is"
            " expected; propose it again"
        )


def keep_signatures(metadata: Signable, keyids: Collection[str]) -> None:
    """Leave out of metadata all signatures but these: others prove nothing."""
    for keyid in set(metadata.signatures) - set(keyids):
        del metadata.signatures[keyid]


def none_can_sign(*, wanted: Iterable[str], signed: Iterable[str]) -> ConfigError:
    """Return the error for keys that add nothing; `signed` are those that have before."""
    missing = ", ".join(sorted(set(map(short, wanted))))
    there = ", ".join(sorted(set(map(short, signed))))
    done = f"; {there} has signed already" if there else ""
    return ConfigError(
        f"none of the keys here can sign it; wanted is one of {missing}{done}"
    )


def _refuse_unsignable(metadata: Signable, *, subject: str) -> None:
    """What is signed is canonical JSON, which has no fractions."""
    try:
        _ = metadata.signed_bytes
    except SerializationError as error:
        raise TrustError(f"{subject}: not canonical JSON, nobody can sign it") from error


def _bytes(reader: Reader) -> bytes:
    return json.dumps(dict(reader.table)).encode()
