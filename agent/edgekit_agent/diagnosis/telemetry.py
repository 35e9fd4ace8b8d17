"""Telemetry that waits on the disk: how much, and whether anybody takes it."""

import time
from collections.abc import Iterator

from edgekit_agent.config import Config
from edgekit_agent.diagnosis.finding import Finding, fine, note
from edgekit_agent.storage import spool
from edgekit_agent.storage.store import Store

_SUBJECT = "telemetry"
_UNANSWERED_S = 3600.0  # several repetitions


def look(settings: Config, store: Store, now_s: float | None = None) -> Iterator[Finding]:
    """Look at the spool; `now_s` is the time of day in seconds."""
    waiting = spool.waiting(store.telemetry)
    fact = (
        f"{waiting.files} windows wait, {waiting.disk_bytes / 1024:,.0f} of"
        f" {settings.telemetry_spool_kb:,} kB"
    )
    now_s = time.time() if now_s is None else now_s
    oldest = waiting.oldest_sent_s
    if oldest is not None and now_s - oldest > _UNANSWERED_S:
        yield note(
            _SUBJECT,
            f"{fact}; some were sent {(now_s - oldest) / 3600:,.0f} hours ago and nobody"
            " took them",
            "run `edgekit fleet watch` on the operator's machine; its user must be allowed"
            " to write the device's topic `taken`, and the device to read it",
        )
    else:
        yield fine(_SUBJECT, fact)
