"""Which bundles a repository offers, as its release records say.

The depot holds no keys: it believes its own disk, and devices believe signatures only.
"""

import logging
from pathlib import Path

from edgekit.errors import TrustError
from edgekit.statement import BundleEntry, ReleaseRecord

logger = logging.getLogger(__name__)

RECORDS = "targets/models/*/*.json"  # <sha256>.<version>.json, see docs/formats/repository


def read_catalogue(files: Path) -> dict[str, BundleEntry]:
    """Return the entry of every bundle that a record under `files` names, by digest."""
    entries = {}
    for path in sorted(files.glob(RECORDS)):
        try:
            record = ReleaseRecord.from_json(path.read_bytes())
        except (OSError, TrustError) as error:
            logger.warning("%s: left out: %s", path, error)
            continue
        entries.update({entry.sha256: entry for entry in record.bundles})
    return entries
