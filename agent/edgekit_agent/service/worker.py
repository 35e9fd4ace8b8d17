"""What serves: loads models on command, answers local HTTP, can be replaced.

It knows no broker, no trust and no plans. As a process of its own, commands come as JSON
lines on standard input, its answers go to standard output, and it ends with the input; as
threads of the agent's process (edgekit_agent.supervision.tenant) both go through queues.

    {"do": "load", "model", "version", "flavor", "sha256", "overlap"}
                                       without overlap, what serves is freed first, and
                                       requests wait  -> loaded | load-failed
    {"do": "unload", "model"}                               -> unloaded
    {"do": "recent", "model", "path"}  write what was asked of it lately to a file
    {"do": "stats"}    what was counted: a line a bundle, and what was refused before
                                                            -> counted ..., stats
    {"do": "ping"}     a request that is computed for too long is "overdue": by which
                       bundle, and a sentence               -> pong
    {"do": "stop"}     finish what is being answered, then end
                                                            -> counted ..., stats
"""

import argparse
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.document import Reader
from edgekit.errors import ConfigError, EdgekitError, TransportError
from edgekit.runtime import version
from edgekit.schema import Enforcement
from edgekit.telemetry.positional import pairs
from edgekit.telemetry.refusals import RefusalCounter
from edgekit_agent import lines, memory
from edgekit_agent.service import recent
from edgekit_agent.service.invocations import Handler, LoopbackHandler
from edgekit_agent.service.listener import Listener, LoopbackListener, UnixListener, finish
from edgekit_agent.service.recent import Keep
from edgekit_agent.service.runs import Runs
from edgekit_agent.service.served import Identity, Served
from edgekit_agent.service.shelf import Shelf
from edgekit_agent.storage.store import Store

log = logging.getLogger(__name__)

REQUEST_S = 30.0  # that a model may compute for one request, unless it is a slow one
_FINISH_S = 5.0  # for all that is being answered, before the supervisor's patience ends


class Worker:
    """Carries out the supervisor's commands. Loads happen one after the other, beside."""

    def __init__(  # noqa: PLR0913 - what a worker consists of
        self,
        store: Store,
        shelf: Shelf,
        refusals: RefusalCounter,
        voice: lines.Speaker,
        *,
        keep: Keep,
        runs: Runs,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._refusals = refusals
        self._voice = voice
        self._keep = keep
        self._runs = runs
        self._changes: queue.SimpleQueue[Reader] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to carry out loads, and say so."""
        threading.Thread(target=self._change, name="loader", daemon=True).start()
        self._voice.say("ready", onnxruntime=version(), pid=os.getpid())

    def obey(self, command: Reader) -> bool:
        """Carry out one command; False when it was the last one."""
        match command.text("do"):
            case "ping":
                self._pong()
            case "stats":
                self.tell()
            case "recent":
                kept = self._shelf.recent(command.text("model"))
                recent.write(Path(command.text("path")), kept)
            case "load" | "unload":
                self._changes.put(command)
            case "stop":
                return False
            case unknown:
                known = "load, unload, recent, stats, ping or stop"
                command.fail("do", f"{known} instead of {unknown}")
        return True

    def tell(self) -> None:
        """Say what was counted since the last time."""
        for counts in self._shelf.drain():
            self._voice.say("counted", counts=counts.to_row())
        refusals = pairs(self._refusals.take())
        self._voice.say("stats", rss_bytes=memory.rss_bytes(), refusals=refusals)

    def _pong(self) -> None:
        found = self._runs.overdue()
        overdue = found and {"sha256": found.sha256, "reason": found.reason}
        self._voice.say("pong", **({"overdue": overdue} if overdue else {}))

    def _change(self) -> None:
        while True:
            command = self._changes.get()
            model = command.text("model")
            if command.text("do") == "unload":
                self._shelf.drop(model)
                self._voice.say("unloaded", model=model)
            else:
                self._load(command, model)

    def _load(self, command: Reader, model: str) -> None:
        identity = Identity(
            model=model,
            version=command.text("version"),
            flavor=command.text("flavor"),
            sha256=command.sha256("sha256"),
        )
        began_s = time.monotonic()
        try:
            pause_ms = self._exchange(
                identity, overlap=command.flag("overlap", default=True)
            )
        except (EdgekitError, MemoryError) as error:
            self._voice.say(
                "load-failed",
                model=model,
                sha256=identity.sha256,
                error=type(error).__name__,
                reason=str(error) or "out of memory",
            )
            return
        self._voice.say(
            "loaded",
            model=model,
            sha256=identity.sha256,
            took_ms=_since_ms(began_s),
            pause_ms=pause_ms,
        )

    def _exchange(self, identity: Identity, *, overlap: bool) -> int:
        """Let a bundle answer, and return for how long requests had to wait."""
        former = self._shelf.identity(identity.model)
        if former is not None and former.sha256 == identity.sha256:
            return 0
        if overlap or former is None:
            self._shelf.put(self._loaded(identity))
            return 0
        began_s = time.monotonic()
        with self._shelf.pause(identity.model):
            try:
                served = self._loaded(identity)
            except (EdgekitError, MemoryError):
                self._restore(former)
                raise
            self._shelf.put(served)
        return max(1, _since_ms(began_s))

    def _restore(self, former: Identity) -> None:
        try:
            self._shelf.put(self._loaded(former))
        except (EdgekitError, MemoryError):
            log.exception("%s: it cannot be loaded again; starting afresh", former.model)
            os._exit(1)

    def _loaded(self, identity: Identity) -> Served:
        served = Served.load(self._store, identity)
        return replace(served, recent=self._keep.recent(), runs=self._runs)


def _since_ms(began_s: float) -> int:
    return round((time.monotonic() - began_s) * 1000)


def main() -> None:
    """Run until standard input ends or says stop."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="worker: %(message)s")
    serve(sys.argv[1:], lines.read(sys.stdin.buffer), lines.Voice.claim())
    logging.shutdown()
    os._exit(0)  # threads of connections and of onnxruntime have nothing left to do


def serve(
    words: Sequence[str], commands: Iterable[dict[str, object]], voice: lines.Speaker
) -> None:
    """Carry out commands until they end or say stop; `words` are a command line's."""
    arguments = _arguments(words)
    memory.keep_heap_small()
    shelf, refusals = Shelf(Enforcement(arguments.enforcement)), RefusalCounter()
    unix = UnixListener(arguments.socket, Handler, shelf, refusals=refusals)
    listeners: list[Listener] = [unix]
    _listen(unix)
    if arguments.port is not None:
        threading.Thread(
            target=_open_port, args=(arguments.port, unix, listeners), daemon=True
        ).start()
    keep = Keep(rows=arguments.recent_rows, most_bytes=arguments.recent_bytes)
    runs = Runs(arguments.request_s)
    store = Store(arguments.state_dir)
    worker = Worker(store, shelf, refusals, voice, keep=keep, runs=runs)
    worker.start()
    for document in commands:
        command = Reader(table=document, subject="command", error=TransportError)
        if not worker.obey(command):
            finish(listeners, _FINISH_S)
            worker.tell()
            return


def _listen(listener: Listener) -> None:
    threading.Thread(target=listener.serve_forever, name="http", daemon=True).start()


def _open_port(port: int, unix: Listener, listeners: list[Listener]) -> None:
    """Serve a port beside the socket; without it the device still serves."""
    try:
        listener = LoopbackListener(
            port, LoopbackHandler, unix.shelf, refusals=unix.refusals
        )
    except ConfigError as error:
        log.error("%s; only the socket serves", error)  # noqa: TRY400 - no defect, no trace
        return
    listeners.append(listener)
    _listen(listener)


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edgekit_agent.service.worker", description=__doc__
    )
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--recent-rows", type=int, default=0)
    parser.add_argument("--recent-bytes", type=int, default=0)
    parser.add_argument("--request-s", type=float, default=REQUEST_S)
    parser.add_argument("--enforcement", default=Enforcement.STRICT.value)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
