"""What a stored bundle takes in the process that serves. Knows no trust and no network."""

import contextlib

from edgekit.errors import TrustError
from edgekit.manifest import MANIFEST_NAME, Manifest
from edgekit_agent.storage.store import Store

RUNTIME_BYTES = 48 * 2**20  # onnxruntime and numpy, imported once for all models: measured


def session_bytes(store: Store, sha256: str) -> int:
    """Return what was measured beside onnxruntime; 0 for a bundle that cannot be read."""
    with contextlib.suppress(OSError, TrustError):
        path = store.bundle(sha256) / MANIFEST_NAME
        footprint = Manifest.from_json(path.read_bytes()).footprint
        floor_bytes = footprint.runtime_floor_bytes or RUNTIME_BYTES
        return max(0, footprint.peak_rss_bytes - floor_bytes)
    return 0
