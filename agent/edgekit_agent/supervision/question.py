"""What a hook is told of the change it is asked about: its variables. Runs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit_agent.config import Config
from edgekit_agent.rules.hook import Hook
from edgekit_agent.rules.record import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A hook and the change: `release` instead of `instead_of`, None for the first one."""

    hook: Hook
    model: str
    release: Release
    instead_of: Release | None
    reason: str = ""

    def variables(self, config: Config, bundle: Path) -> Mapping[str, str]:
        """Return the environment variables; `bundle` is the folder with the release."""
        other = self.instead_of
        return {
            "EDGEKIT_HOOK": self.hook.value,
            "EDGEKIT_DEVICE": config.device,
            "EDGEKIT_BOARD": config.board,
            "EDGEKIT_MODEL": self.model,
            "EDGEKIT_STAGE": config.subscription(self.model).stage,
            "EDGEKIT_VERSION": self.release.version,
            "EDGEKIT_FLAVOR": self.release.flavor,
            "EDGEKIT_SHA256": self.release.sha256,
            "EDGEKIT_ROLLOUT": str(self.release.rollout),
            "EDGEKIT_BUNDLE": str(bundle),
            "EDGEKIT_SOCKET": str(config.socket),
            "EDGEKIT_FROM_VERSION": other.version if other else "",
            "EDGEKIT_FROM_SHA256": other.sha256 if other else "",
            "EDGEKIT_REASON": self.reason,
        }
