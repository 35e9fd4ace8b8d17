"""Whether one version of a role differs from another in nothing but keys. Pure.

What people sign without reading every byte must not hold more than they are shown: all
else, also what this version of edgekit does not know, has to be as it was. TrustError
says what is not.
"""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from securesystemslib.formats import encode_canonical

from edgekit.errors import TrustError
from edgekit.trust.layout import FLEET_FIELD, short
from edgekit.trust.payload import Key, Role, Root, Targets
from edgekit.trust.roles import stage_path

_KEYS = ("keyids", "threshold")


def refuse_more_than_keys(
    role: str,
    before: Root | Targets,
    after: Root | Targets,
    *,
    founded: Collection[str] = (),
) -> None:
    """Raise TrustError unless only keys, version and date differ.

    And, in the targets role, what it delegates to the new stages in `founded`.
    """
    if after.version <= before.version:
        raise TrustError(f"proposal: {role}: version {after.version} is not newer")
    if _without_keys(after, founded) != _without_keys(before):
        raise TrustError(f"proposal: {role}: it changes more than keys")
    known, named = _keys(before), _named(after)
    for keyid, key in _keys(after).items():
        if known.get(keyid) == key:
            continue
        if keyid != _digest(key):
            raise TrustError(
                f"proposal: key {short(keyid)}: its id is not its digest, so another key"
                " would hide behind it"
            )
        if keyid not in named or key.unrecognized_fields:
            raise TrustError(
                f"proposal: key {short(keyid)}: a key that some role names is expected, and"
                " nothing else in it"
            )


def refuse_statements(role: str, signed: Targets, fleet: str) -> None:
    """Raise TrustError unless a role that is new states nothing yet, for this fleet."""
    if signed.targets or signed.delegations:
        raise TrustError(f"proposal: {role}: it is new and states something already")
    if signed.unrecognized_fields != {FLEET_FIELD: fleet}:
        raise TrustError(f"proposal: {role}: it is not of the fleet {fleet}")


def _without_keys(signed: Root | Targets, founded: Collection[str] = ()) -> dict[str, Any]:
    """Return all that a role says but who signs for which role, its version and date."""
    said = _without(signed.to_dict(), ("version", "expires"))
    if isinstance(signed, Root):
        roles = {name: _without(one, _KEYS) for name, one in said.pop("roles").items()}
        return {**_without(said, ("keys",)), "roles": roles}
    delegations = dict(said.get("delegations") or {})
    delegations.pop("keys", None)
    kept = []
    for one in delegations.get("roles", []):
        if one["name"] not in founded:
            kept.append(_without(one, _KEYS))
        elif _without(one, _KEYS) != _stage(one["name"]):
            raise TrustError(f"proposal: {one['name']}: not as a stage is delegated to")
    return {**said, "delegations": {**delegations, "roles": kept}}


def _stage(role: str) -> dict[str, Any]:
    return {"name": role, "terminating": True, "paths": [stage_path(role)]}


def _without(table: Mapping[str, Any], fields: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in fields}


def _keys(signed: Root | Targets) -> Mapping[str, Key]:
    if isinstance(signed, Root):
        return signed.keys
    return signed.delegations.keys if signed.delegations else {}


def _named(signed: Root | Targets) -> frozenset[str]:
    """Return the ids of the keys that sign for some role, as this one says."""
    if isinstance(signed, Root):
        roles: Collection[Role] = signed.roles.values()
    else:
        delegated = signed.delegations.roles if signed.delegations else None
        roles = (delegated or {}).values()
    return frozenset(keyid for role in roles for keyid in role.keyids)


def _digest(key: Key) -> str:
    """Return the id that a key must have, as the TUF specification (4.2) derives it."""
    named = {"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval}
    return sha256(str(encode_canonical(named)).encode()).hexdigest()
