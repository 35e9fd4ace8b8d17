"""Which keys sign for which role, in the words of TUF. Knows no files and signs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from edgekit.errors import ConfigError
from edgekit.statement import MODELS_ROLE, stage_role
from edgekit.trust.layout import (
    FLEET_FIELD,
    ROOT,
    TARGETS,
    TOP_LEVEL_ROLES,
    delegated_paths,
    short,
)
from edgekit.trust.payload import (
    DelegatedRole,
    Delegations,
    Key,
    Role,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

_STAGE = stage_role("")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKeys:
    """The public keys of a role, and how many of them must sign."""

    keys: tuple[Key, ...]
    threshold: int = 1

    def __post_init__(self) -> None:
        """Refuse what could never be signed."""
        if len(set(self.keyids)) != len(self.keys):
            raise ConfigError(
                f"keys {', '.join(map(short, self.keyids))}: one is there twice,"
                " different keys are expected"
            )
        if not 1 <= self.threshold <= len(self.keys):
            raise ConfigError(
                f"threshold {self.threshold}: there are {len(self.keys)} keys,"
                " a number from 1 to that is expected"
            )

    @property
    def keyids(self) -> tuple[str, ...]:
        """The key ids, in the order they are asked to sign."""
        return tuple(key.keyid for key in self.keys)


def role_names(stages: tuple[str, ...]) -> tuple[str, ...]:
    """Return every role of a fleet with these stages."""
    return (*TOP_LEVEL_ROLES, *delegated_paths(stages))


def founding_root(fleet: str, keys: Mapping[str, RoleKeys]) -> Root:
    """Return the first root: the keys of the top-level roles."""
    return Root(
        keys={key.keyid: key for role in TOP_LEVEL_ROLES for key in keys[role].keys},
        roles={
            role: Role(list(keys[role].keyids), keys[role].threshold)
            for role in TOP_LEVEL_ROLES
        },
        consistent_snapshot=True,
        unrecognized_fields={FLEET_FIELD: fleet},
    )


def founding_targets(
    fleet: str, stages: tuple[str, ...], keys: Mapping[str, RoleKeys]
) -> Targets:
    """Return the first targets role: it delegates all, and signs no target itself."""
    paths = delegated_paths(stages)
    return Targets(
        delegations=Delegations(
            keys={key.keyid: key for role in paths for key in keys[role].keys},
            roles={
                role: delegation(role, path, keys[role]) for role, path in paths.items()
            },
        ),
        unrecognized_fields={FLEET_FIELD: fleet},
    )


def delegation(role: str, path: str, keys: RoleKeys) -> DelegatedRole:
    """Return the sentence "these keys, and nobody else, sign this path"."""
    return DelegatedRole(
        role,
        list(keys.keyids),
        keys.threshold,
        terminating=True,
        paths=[path],
    )


def stage_path(role: str) -> str | None:
    """Return the pattern of paths that the role of a stage signs, None for no such name."""
    name = unquote(role.removeprefix(_STAGE))
    if not name or role != stage_role(name):
        return None
    return delegated_paths((name,))[role]


def refuse_no_role(name: str) -> None:
    """Raise ConfigError for what no fleet can have a role of."""
    if name not in {*TOP_LEVEL_ROLES, MODELS_ROLE} and stage_path(name) is None:
        raise ConfigError(
            f"{name}: no name of a role; {', '.join(TOP_LEVEL_ROLES)}, {MODELS_ROLE} or"
            " stage-NAME is expected"
        )


def founding_online(fleet: str) -> tuple[Snapshot, Timestamp]:
    """Return the first snapshot and timestamp, which list nothing yet."""
    fields = {FLEET_FIELD: fleet}
    return (
        Snapshot(meta={}, unrecognized_fields=dict(fields)),
        Timestamp(unrecognized_fields=dict(fields)),
    )


def delegator_of(role: str) -> str:
    """Return the role that names the keys of `role`."""
    return ROOT if role in TOP_LEVEL_ROLES else TARGETS


def keys_of(delegator: Root | Targets, role: str) -> RoleKeys:
    """Return the keys that a delegator names for `role`, or raise ConfigError."""
    try:
        named = delegator.get_delegated_role(role)
    except ValueError as error:
        raise ConfigError(f"{role}: no such role in this fleet") from error
    return RoleKeys(
        keys=tuple(delegator.get_key(keyid) for keyid in named.keyids),
        threshold=named.threshold,
    )


def replace_keys(delegator: Root | Targets, role: str, keys: RoleKeys) -> None:
    """Let a delegator name these keys for `role`, and no others."""
    for keyid in tuple(delegator.get_delegated_role(role).keyids):
        delegator.revoke_key(keyid, role)
    for key in keys.keys:
        delegator.add_key(key, role)
    delegator.get_delegated_role(role).threshold = keys.threshold
