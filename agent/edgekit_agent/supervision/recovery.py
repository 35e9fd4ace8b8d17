"""Have models looked for whose records are lost, before anything is served.

Waits for a child process, which needs python-tuf; a device that lost nothing starts none.
"""

import logging
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from edgekit_agent.storage import testimony
from edgekit_agent.storage.store import Store
from edgekit_agent.subscription import Subscription

log = logging.getLogger(__name__)

MODULE = "edgekit_agent.update.recovery"
PATIENCE_S = 60.0  # within systemd's own for a service that starts


def find_lost(path: Path, store: Store, subscriptions: Iterable[Subscription]) -> None:
    """Let the records be written anew of models that served here and have none.

    `path` is the provisioning file. What cannot be found again is fetched again.
    """
    lost = [
        wanted.model
        for wanted in subscriptions
        if testimony.marks(store.bundles, wanted.model) and not store.load(wanted).needed
    ]
    if not lost:
        return
    log.warning("%s: the record is lost; looking for what served", ", ".join(lost))
    command = [sys.executable, "-m", MODULE, str(path.absolute()), *lost]
    try:
        subprocess.run(command, timeout=PATIENCE_S, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired:
        log.error("no answer within %.0f s; going on without", PATIENCE_S)  # noqa: TRY400 - no traceback for users
