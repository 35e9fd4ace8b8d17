"""What the agent's short-lived children are started with. Starts none of them."""

from collections.abc import Sequence
from pathlib import Path

from edgekit_agent.config import Config
from edgekit_agent.rules.events import RunHook
from edgekit_agent.rules.record import Record, Release
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision import hook
from edgekit_agent.supervision.jobs import Job
from edgekit_agent.supervision.question import Question

_DIGITS = 12


class Errands:
    """The jobs of one device; a command is a module and the arguments all of a kind get."""

    def __init__(
        self, config: Config, store: Store, *, updater: Sequence[str], proof: Sequence[str]
    ) -> None:
        self._config = config
        self._store = store
        self._updater = tuple(updater)
        self._proof = tuple(proof)

    def update(self, model: str) -> Job:
        """Return the job that finds out what a model should be, and fetches it."""
        return Job(model=model, sha256="", command=(*self._updater, "--model", model))

    def recent(self, release: Release) -> Path | None:
        """Return where the worker puts the last real inputs, None where none are kept.

        What lies there from before is gone.
        """
        if not self._config.shadow.rows:
            return None
        path = self._config.runtime_dir / f"recent-{release.sha256[:_DIGITS]}"
        path.unlink(missing_ok=True)
        return path

    def proof(self, release: Release, record: Record, recent: Path | None) -> Job:
        """Return the job that tries a candidate, on this device's terms."""
        wanted = self._config.subscription(record.model)
        terms = {
            "--sha256": release.sha256,
            "--max-rss-bytes": self._config.ram_bytes(record.model),
            "--pace-us": record.pace_us,
            "--recent": recent,
            "--least-agreement": wanted.least_agreement,
            "--most-difference": wanted.most_difference,
        }
        told = [f"{key}={value}" for key, value in terms.items() if value is not None]
        command = (*self._proof, *told)
        return Job(model=record.model, sha256=release.sha256, command=command)

    def hook(self, model: str, asked: RunHook) -> Job | None:
        """Return the job that asks the device, None where it has no such hook."""
        path = hook.find(self._config.hooks.folder, asked.hook)
        if path is None:
            return None
        question = Question(
            hook=asked.hook,
            model=model,
            release=asked.release,
            instead_of=asked.instead_of,
            reason=asked.reason,
        )
        sha256 = asked.release.sha256
        told = question.variables(self._config, self._store.bundle(sha256))
        limit = f"--limit-s={self._config.hooks.limit_s}"
        variables = [f"--variable={key}={value}" for key, value in told.items()]
        command = (hook.__name__, str(path), limit, *variables)
        return Job(model=model, sha256=sha256, command=command, hook=asked.hook)
