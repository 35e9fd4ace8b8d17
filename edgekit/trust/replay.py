"""Say what is older than what, where python-tuf says only that a number is wrong.

Knows no files or network. What is compared is rightly signed: nobody forged it, somebody
kept it.
"""

from collections.abc import Mapping

from edgekit.errors import TrustError
from edgekit.trust.floor import older
from edgekit.trust.layout import SNAPSHOT, TIMESTAMP
from edgekit.trust.payload import Signed, Snapshot, Targets, Timestamp


def replayed(
    name: str, role: str, offered: Signed, trusted: Mapping[str, Signed]
) -> TrustError | None:
    """Return the error for file `name` of a role, None when it holds nothing older.

    `trusted` is what was accepted so far, by role.
    """
    match offered, trusted.get(TIMESTAMP), trusted.get(SNAPSHOT):
        case Timestamp() as timestamp, Timestamp() as before, _:
            return _older_timestamp(name, timestamp, before)
        case Snapshot() as snapshot, Timestamp() as promise, before:
            promised = promise.snapshot_meta.version
            if snapshot.version < promised:
                return _broken_promise(name, snapshot, promised, TIMESTAMP)
            return _older_role(name, snapshot, before)
        case Targets() as targets, _, Snapshot() as promise:
            promised = promise.meta[f"{role}.json"].version
            if targets.version < promised:
                return _broken_promise(name, targets, promised, SNAPSHOT)
    return None


def _older_timestamp(name: str, offered: Timestamp, before: Timestamp) -> TrustError | None:
    if offered.version < before.version:
        known = f"version {before.version} accepted before"
        return older(name, f"version {offered.version}", known)
    promised, last = offered.snapshot_meta.version, before.snapshot_meta.version
    if promised < last:
        known = f"version {last} accepted before"
        return older(name, f"{SNAPSHOT} version {promised}", known)
    return None


def _older_role(name: str, offered: Snapshot, before: Signed | None) -> TrustError | None:
    listed = before.meta if isinstance(before, Snapshot) else {}
    for file, last in listed.items():
        now = offered.meta.get(file)
        if now is not None and now.version < last.version:
            known = f"version {last.version} accepted before"
            return older(name, f"{file.removesuffix('.json')} version {now.version}", known)
    return None


def _broken_promise(name: str, offered: Signed, promised: int, by: str) -> TrustError:
    known = f"version {promised} that the {by} promises"
    return older(name, f"version {offered.version}", known)
