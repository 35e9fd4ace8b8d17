"""The worker as threads of this process, and the conversation with it. Knows no message.

To the supervisor it is a child like any other, but for its end: threads cannot be killed,
so whatever ends it ends the process, and what restarts the agent restarts both
(docs/adr/0036-models-may-run-in-the-agents-process.md).
"""

import json
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from edgekit_agent import lines, memory
from edgekit_agent.supervision.child import Ended, News, Said

log = logging.getLogger(__name__)

EXIT_CODE = os.EX_SOFTWARE


def end_process() -> NoReturn:
    """End this process at once, whatever its threads do."""
    os._exit(EXIT_CODE)


class Tenant:
    """One worker in this process, started now; `words` are its command line.

    `end` is called, from any thread, when the process must not go on.
    """

    def __init__(
        self,
        *words: str,
        inbox: queue.SimpleQueue[News],
        end: Callable[[], None] = end_process,
    ) -> None:
        self._inbox = inbox
        self._end = end
        self._commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._over = threading.Event()
        threading.Thread(
            target=self._run, args=(words,), name="worker", daemon=True
        ).start()

    @property
    def pid(self) -> int:
        """The id of this process."""
        return os.getpid()

    @property
    def rss_bytes(self) -> int:
        """The resident size of this process."""
        return memory.rss_bytes()

    def say(self, **document: object) -> None:
        """Send one object, as it would go through a pipe."""
        self._commands.put(lines.encode(document))

    def kill(self) -> None:
        """End it, and the process with it."""
        log.error("the agent ends: what serves in its process cannot be stopped alone")
        self._end()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, so long at most."""
        self._over.wait(timeout_s)

    def _run(self, words: Sequence[str]) -> None:
        # Not before it is asked for: these imports are 40 MB, of numpy and onnxruntime.
        from edgekit_agent.service import worker  # noqa: PLC0415

        try:
            worker.serve(words, self._heard(), _Voice(self, self._inbox))
        except Exception:  # a defect: no thread is left that answers
            log.exception("a defect of what serves")
            self.kill()
        self._inbox.put(Ended(self, "it was told to stop"))
        self._over.set()

    def _heard(self) -> Iterator[dict[str, object]]:
        while True:
            yield json.loads(self._commands.get())


class _Voice:
    """What the worker says, as it would arrive through a pipe."""

    def __init__(self, tenant: Tenant, inbox: queue.SimpleQueue[News]) -> None:
        self._tenant = tenant
        self._inbox = inbox

    def say(self, event: str, **fields: object) -> None:
        """Send one object to the supervisor's inbox."""
        document = json.loads(lines.encode({"event": event, **fields}))
        self._inbox.put(Said(self._tenant, document))
