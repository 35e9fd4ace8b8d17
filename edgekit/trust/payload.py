"""The types of python-tuf and securesystemslib, by their documented names. Adds nothing.

They are documented where they are imported from here, but mypy sees them as private there.
"""

from securesystemslib.signer import (  # type: ignore[attr-defined]  # no __all__ upstream
    CryptoSigner,
    HSMSigner,
    Key,
    Signature,
    Signer,
    SSlibKey,
)
from tuf.api.metadata import (  # type: ignore[attr-defined]  # no __all__ upstream
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

AnyMetadata = Metadata[Root] | Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets]

__all__ = [
    "AnyMetadata",
    "CryptoSigner",
    "DelegatedRole",
    "Delegations",
    "HSMSigner",
    "Key",
    "MetaFile",
    "Metadata",
    "Role",
    "Root",
    "SSlibKey",
    "Signature",
    "Signed",
    "Signer",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
]
