"""How files and signed fields of a repository are named. Knows no contents."""

from urllib.parse import quote

from edgekit.statement import MODELS_ROLE, slug, stage_role

ROOT = "root"
TARGETS = "targets"
SNAPSHOT = "snapshot"
TIMESTAMP = "timestamp"
TOP_LEVEL_ROLES = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)

TIMESTAMP_FILE = "timestamp.json"
METADATA = "metadata"  # on a device: the folder of what it trusts, python-tuf's

FLEET_FIELD = "x-edgekit-fleet"  # in every signed part: whose metadata this is
ISSUED_FIELD = "x-edgekit-issued"  # in the timestamp: when it was signed
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def metadata_file(role: str, version: int) -> str:
    """Return the name of one version of a role's metadata; the timestamp has one name."""
    return TIMESTAMP_FILE if role == TIMESTAMP else f"{version}.{role}.json"


def cached_file(role: str) -> str:
    """Return how python-tuf names a role's newest metadata on a device."""
    return f"{quote(role, safe='')}.json"


def statement_file(path: str, sha256: str) -> str:
    """Return the name of the file that holds the TUF target `path` with this digest."""
    folder, _, basename = path.rpartition("/")
    return f"targets/{folder}/{sha256}.{basename}"


def delegated_paths(stages: tuple[str, ...]) -> dict[str, str]:
    """Return each delegated role with the pattern of paths that it alone may sign."""
    return {
        MODELS_ROLE: "models/*/*",
        **{stage_role(stage): f"stages/{slug(stage)}/*" for stage in stages},
    }


def short(keyid: str) -> str:
    """Return a key id as people see it."""
    return keyid[:8]
