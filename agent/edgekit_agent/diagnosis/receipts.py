"""Whether this device can sign what serves on it. Signs nothing."""

from collections.abc import Iterator

from edgekit.errors import ConfigError
from edgekit.trust.receipt import public_half
from edgekit_agent.config import Config
from edgekit_agent.diagnosis.finding import Finding, fine, note
from edgekit_agent.signing import secret

_SUBJECT = "receipts"
_ADVICE = (
    "copy the key that `edgekit device enroll` wrote beside agent.toml here, mode 640, or"
    " enroll the device again"
)


def look(settings: Config) -> Iterator[Finding]:
    """Look at the device's own key; a device without one is no finding."""
    path = settings.receipt_key_file
    if path is None:
        return
    try:
        public_half(secret(path))
    except ConfigError as error:
        yield note(_SUBJECT, f"not signed: {error}", _ADVICE)
    else:
        yield fine(_SUBJECT, f"signed with {path}")
