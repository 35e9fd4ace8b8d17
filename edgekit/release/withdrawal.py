"""Take back release records, so that no stage can run their versions any more.

Knows no registry. What a stage runs is not taken back: the repository refuses it.
"""

from collections.abc import Sequence
from datetime import datetime

from edgekit.errors import ConfigError
from edgekit.release.workplace import Workplace
from edgekit.trust.proposal import Proposal


def withdraw(
    *, model: str, versions: Sequence[str], workplace: Workplace, now: datetime
) -> Proposal | None:
    """Withdraw versions of a model; where others must sign, return what they are to sign.

    ConfigError when one was never released, or a stage runs it.
    """
    for version in versions:
        if workplace.record(model=model, version=version) is None:
            raise ConfigError(f"{model} {version}: no release of it is signed")
    return workplace.withdraw([(model, version) for version in versions], now)
