"""What is done to the roles of a repository, apart from releases: changes of a draft.

Knows no signatures and no files; edgekit.trust.repository carries them out, or proposes.
"""

from collections.abc import Callable, Iterable

from edgekit.errors import ConfigError
from edgekit.trust.draft import Draft
from edgekit.trust.roles import RoleKeys, stage_path

Redraft = Callable[[Draft], None]


def naming(role: str, keys: RoleKeys) -> Redraft:
    """Let these keys sign for a role from now on, and no others."""
    return lambda draft: draft.set_keys(role, keys)


def founding(role: str, keys: RoleKeys) -> Redraft:
    """Give the fleet another stage, with keys of its own; ConfigError for a bad name."""
    path = path_of_new(role)
    return lambda draft: draft.add_role(role, path, keys)


def path_of_new(role: str) -> str:
    """Return the pattern of paths of a role to be made; ConfigError for a bad name."""
    path = stage_path(role)
    if path is None:
        raise ConfigError(
            f"{role}: no role of a stage; stage-NAME is expected, such as stage-canary"
        )
    return path


def renewing(roles: Iterable[str]) -> Redraft:
    """Sign roles anew, with nothing changed in them."""
    named = tuple(roles)

    def change(draft: Draft) -> None:
        for role in named:
            draft.touch(role)

    return change
