"""How much a device is willing to read. Knows no network and no metadata.

The defaults keep every file inside one MQTT message that all brokers and AWS IoT Core
accept (128 KB with its header). The operator's side refuses to publish more.
"""

from dataclasses import dataclass

from edgekit.trust.layout import ROOT, SNAPSHOT, TIMESTAMP

MESSAGE_BYTES = 127 * 1024  # edgekit.wire.MAX_PAYLOAD_BYTES, which lies beside this layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds on what an attacker can make a device read or keep."""

    root_bytes: int = 64 * 1024
    timestamp_bytes: int = 8 * 1024
    snapshot_bytes: int = 64 * 1024
    targets_bytes: int = MESSAGE_BYTES  # the targets role, models and each stage
    statement_bytes: int = 64 * 1024
    root_rotations: int = 64  # in one refresh; the next refresh goes on from there

    def metadata_bytes(self, role: str) -> int:
        """Return the bound on the metadata of a role."""
        named = {
            ROOT: self.root_bytes,
            SNAPSHOT: self.snapshot_bytes,
            TIMESTAMP: self.timestamp_bytes,
        }
        return named.get(role, self.targets_bytes)


DEFAULT_LIMITS = Limits()
