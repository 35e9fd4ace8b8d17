"""Have a receipt signed when what serves has changed, and once a day; publish it.

Knows no key: a process of its own signs, and ends. A broker that cannot be reached costs
nothing: the last receipt is published again at every connection.
"""

import logging
import queue
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edgekit.document import Reader
from edgekit.errors import TransportError
from edgekit.receipt import Receipt, Served
from edgekit.transport import Transport
from edgekit.wire import Topics
from edgekit_agent.config import Config
from edgekit_agent.rules.state import ModelState, Moment
from edgekit_agent.supervision.child import News, Partner
from edgekit_agent.supervision.jobs import Job, Meaning, Slot

log = logging.getLogger(__name__)

AGAIN_S = 86_400.0  # a receipt that is no older shows that the device still serves
PATIENCE_S = 60.0  # so long an update, or a worker that starts, may hold a receipt back
RETRY_S = 900.0
_SILENT_S = 60.0


class _Seen(NamedTuple):
    """What serves, and since when this agent sees it, in its own seconds."""

    models: tuple[Served, ...]
    since_s: float


class Receipts:
    """The receipts of one life of the agent. Used by one thread."""

    def __init__(
        self,
        config: Config,
        transport: Transport,
        boot_id: str,
        *,
        inbox: queue.SimpleQueue[News],
        module: str = "edgekit_agent.signing",
    ) -> None:
        self._config = config
        self._transport = transport
        self._topic = Topics(fleet=config.fleet).receipt(config.device)
        self._boot_id = boot_id
        self._module = module
        self._slot = Slot(_meaning, inbox=inbox, silent_s=_SILENT_S)
        self._asked = 0
        self._seen = _Seen((), -AGAIN_S)
        self._signed: tuple[Served, ...] | None = None  # what was asked to be signed last
        self._due_s = 0.0
        self._envelope = b""

    def tick(self, states: Sequence[ModelState], at: Moment) -> None:
        """Have what serves signed, where that is due."""
        key = self._config.receipt_key_file
        if key is None:
            return
        self._slot.check(at.s)
        models = tuple(_served(states))
        if models != self._seen.models:
            self._seen = _Seen(models, at.s)
        if not self._is_due(states, at.s):
            return
        self._signed = models
        self._due_s = at.s + AGAIN_S
        self._asked += 1
        receipt = Receipt(
            fleet=self._config.fleet,
            device=self._config.device,
            boot_id=self._boot_id,
            seq=self._asked,
            at=at.utc,
            models=models,
        )
        told = f"--receipt={receipt.to_json().decode()}"
        command = (self._module, f"--key={key}", told)
        self._slot.submit(Job(model="", sha256="", command=command), at.s)

    def owns(self, child: Partner) -> bool:
        """Whether a process signs for this."""
        return self._slot.owns(child)

    def heard(self, news: News, now_s: float) -> None:
        """Publish what was signed; try again later where it was not."""
        heard = self._slot.heard(news, now_s)
        if heard is None:
            return
        _, said = heard
        try:
            self._take(said, now_s)
        except TransportError as error:
            log.warning("%s", error)
            self._due_s = now_s + RETRY_S
        self._slot.conclude()

    def publish(self) -> None:
        """Publish the last receipt, retained; the next connection brings it, too."""
        if not self._envelope:
            return
        try:
            self._transport.publish(self._topic, self._envelope, retain=True)
        except TransportError as error:
            log.warning("receipt: not published: %s", error)

    def stop(self) -> None:
        """End what is under way."""
        self._slot.stop()

    def _is_due(self, states: Iterable[ModelState], now_s: float) -> bool:
        if self._signed is None or self._seen.models != self._signed:
            waited = now_s - self._seen.since_s >= PATIENCE_S
            return bool(self._seen.models or self._signed) and (waited or _settled(states))
        return now_s >= self._due_s

    def _take(self, said: Reader | str, now_s: float) -> None:
        failure = ""
        if isinstance(said, str):
            failure = f"the process that signs ended: {said}"
        elif said.text("event") == "signed":
            self._envelope = said.text("envelope").encode()
            self.publish()
        else:
            failure = said.text("reason")
        if failure:
            log.warning("receipt: %s; again in %.0f s", failure, RETRY_S)
            self._due_s = now_s + RETRY_S


def _meaning(_job: Job, _said: Reader | str) -> Meaning:
    return Meaning(None)


def _settled(states: Iterable[ModelState]) -> bool:
    """Whether no update is under way, and the worker answers with all it should."""
    return all(
        state.at_rest and (state.wanted is None or state.wanted.sha256 == state.loaded)
        for state in states
    )


def _served(states: Iterable[ModelState]) -> Iterable[Served]:
    for state in states:
        current = state.record.current
        if current is not None and current.sha256 == state.loaded:
            yield Served(
                model=state.record.model,
                stage=state.record.stage,
                version=current.version,
                flavor=current.flavor,
                sha256=current.sha256,
                rollout=current.rollout,
                since=current.since or "",
            )
