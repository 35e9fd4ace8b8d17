"""What a role may sign, by the metadata of the targets role. Knows no files or keys."""

from edgekit.errors import TrustError
from edgekit.trust.layout import TARGETS
from edgekit.trust.payload import DelegatedRole, Targets


def delegated(targets: Targets) -> tuple[str, ...]:
    """Return the names of the roles that a targets role delegates to."""
    return tuple((targets.delegations.roles if targets.delegations else None) or ())


def delegation(targets: Targets, role: str) -> DelegatedRole:
    """Return what the targets role says of a role, or raise TrustError."""
    roles = (targets.delegations.roles if targets.delegations else None) or {}
    if role not in roles:
        raise TrustError(
            f"{role}: no such role in this fleet, one of"
            f" {', '.join(sorted(roles))} is expected"
        )
    return roles[role]


def refuse_strays(targets: Targets) -> None:
    """The top-level role delegates; a statement of its own would bypass the others."""
    for path in targets.targets:
        if path.startswith(("models/", "stages/")):
            raise TrustError(f"{path}: signed by {TARGETS}, its own role is expected")


def refuse_foreign_paths(role: DelegatedRole, signed: Targets) -> None:
    """A role that signs what is another's to sign is compromised: trust none of it."""
    for path in signed.targets:
        if not role.is_delegated_path(path):
            raise TrustError(f"{path}: signed by {role.name}, its own role is expected")
