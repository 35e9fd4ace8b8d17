"""Run a hook by hand, as the agent would. Changes nothing that the agent remembers."""

from edgekit.errors import ConfigError
from edgekit_agent.config import Config
from edgekit_agent.rules.hook import Hook
from edgekit_agent.rules.record import Release
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision import hook as runner
from edgekit_agent.supervision.hook import Running, Told
from edgekit_agent.supervision.question import Question

_NOTHING = Release(version="0", flavor="none", sha256="0" * 64, rollout=1)


def run(settings: Config, hook: Hook, model: str) -> Told:
    """Run a hook with what serves now, or with a version 0 where nothing does.

    ConfigError when the device has no such hook, or does not serve the model.
    """
    store = Store(settings.state_dir)
    record = store.load(settings.subscription(model))
    path = runner.find(settings.hooks.folder, hook)
    if path is None:
        raise ConfigError(
            f"{settings.hooks.folder / hook.value}: no such file; this device has no such"
            " hook, and what it would be asked is always a go"
        )
    release = record.current or _NOTHING
    question = Question(
        hook=hook,
        model=model,
        release=release,
        instead_of=record.previous,
        reason="tried by hand",
    )
    bundle = store.bundle(release.sha256)
    begun = runner.start(path, question.variables(settings, bundle))
    if isinstance(begun, Running):
        return begun.wait(settings.hooks.limit_s)
    return begun
