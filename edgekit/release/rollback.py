"""Go back to what a stage ran before. Knows no registry and converts nothing.

The bundles were signed when they were released; going back signs a stage pointer with a
higher rollout number, so no device takes it for a replay.
"""

from datetime import datetime

from edgekit.errors import StoreError
from edgekit.release.history import Action, Entry, target
from edgekit.release.workplace import Workplace


def rollback(
    *,
    model: str,
    stage: str,
    version: str | None,
    workplace: Workplace,
    now: datetime,
) -> Entry:
    """Let a stage run what it ran before, or what it last ran of `version`.

    ConfigError when there is nothing to go back to; StoreError when its bytes are gone.
    """
    workplace.repository.pointer(stage=stage, model=model)  # an unknown stage is said first
    workplace.catch_up(now)
    entries = workplace.ledger.entries(stage=stage, model=model)
    wanted = target(entries, version, model=model, stage=stage)
    for flavor, sha256 in wanted.bundles.items():
        if not (workplace.repository.blobs / sha256).is_file():
            raise StoreError(
                f"{model} {wanted.version}: the bundle {flavor} ({sha256[:12]}) is not"
                f" in {workplace.repository.blobs} any more; release it again"
            )
    entry = workplace.point(
        stage=stage,
        model=model,
        version=wanted.version,
        bundles=dict(wanted.bundles),
        action=Action.ROLLBACK,
        now=now,
    )
    return entry or entries[-1]
