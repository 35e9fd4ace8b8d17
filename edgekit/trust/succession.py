"""Say whether one signed timestamp succeeds another. Knows no files, broker or clock.

For whoever keeps a copy of a repository and meets a timestamp from elsewhere: what a key
of the fleet signed later is the newer state, anything else is nobody's.
"""

from tuf.api.exceptions import RepositoryError

from edgekit.trust.payload import Metadata, Root, Timestamp


def succeeds(candidate: bytes, *, known: bytes, root: bytes) -> bool:
    """Whether `candidate` is a timestamp of a later version than `known`.

    It must be signed by the keys that `root` names; `known` and `root` are believed. False
    for whatever is no such metadata.
    """
    try:
        trusted = Metadata[Root].from_bytes(root).signed
        newer = Metadata[Timestamp].from_bytes(candidate)
        older = Metadata[Timestamp].from_bytes(known)
    except RepositoryError:
        return False
    if not isinstance(trusted, Root) or not isinstance(newer.signed, Timestamp):
        return False
    try:
        trusted.verify_delegate(Timestamp.type, newer.signed_bytes, newer.signatures)
    except RepositoryError:
        return False
    return newer.signed.version > older.signed.version
