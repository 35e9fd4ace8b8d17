"""Read the reference profile of a stored bundle. Knows no numpy."""

import logging

from edgekit.errors import TrustError
from edgekit.manifest import PROFILE_NAME
from edgekit.telemetry.profile import Profile
from edgekit_agent.storage.store import Store

log = logging.getLogger(__name__)


def read(store: Store, sha256: str) -> Profile | None:
    """Return it, None where the bundle has none that can be read."""
    path = store.bundle(sha256) / PROFILE_NAME
    try:
        return Profile.from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, TrustError) as error:
        log.warning("bundle %s: values are not compared: %s", sha256[:12], error)
        return None
