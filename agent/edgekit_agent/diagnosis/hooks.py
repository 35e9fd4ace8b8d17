"""Whether the hooks of this device can be run. Runs none of them."""

from collections.abc import Iterator

from edgekit_agent.config import Config
from edgekit_agent.diagnosis.finding import Finding, fine, trouble
from edgekit_agent.rules.hook import Hook
from edgekit_agent.supervision import hook as runner


def look(settings: Config) -> Iterator[Finding]:
    """Look at each hook that is there; no hook is no finding."""
    for hook in Hook:
        path = runner.find(settings.hooks.folder, hook)
        if path is None:
            continue
        why = runner.unsafe(path)
        if why is None:
            yield fine("hook", f"{path} is asked, up to {settings.hooks.limit_s} s")
        else:
            yield trouble(
                "hook", why, f"mend or remove it; `edgekit-agent try-hook {hook} MODEL`"
            )
