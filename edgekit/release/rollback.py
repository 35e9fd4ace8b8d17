"""Go back to what a stage ran before. Knows no registry and converts nothing.

The bundles were signed when they were released; going back signs a stage pointer with a
higher rollout number, so no device takes it for a replay.
"""

from datetime import datetime

from edgekit.errors import StoreError
from edgekit.release.history import Action, Entry, target
from edgekit.release.workplace import Pointing, Workplace
from edgekit.trust.proposal import Proposal


def rollback(
    *,
    model: str,
    stage: str,
    version: str | None,
    workplace: Workplace,
    now: datetime,
) -> Entry | Proposal:
    """Let a stage run what it ran before, or what it last ran of `version`.

    Where others must sign for the stage, return what they are to sign.

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
    pointing = Pointing(
        stage=stage, model=model, version=wanted.version, bundles=dict(wanted.bundles)
    )
    if workplace.changes(pointing) and workplace.needs_others(stage, record=False):
        return workplace.propose(pointing, now)
    return workplace.point(pointing, Action.ROLLBACK, now) or entries[-1]
