"""What systemd does for the agent: start it again whenever it ends, or is silent."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.household import Household

_GLANCE_S = 0.1


class Init:
    """Restart=always and WatchdogSec, as in systemd/edgekit-agent.service."""

    def __init__(self, house: Household, watchdog_s: float) -> None:
        self.endings: list[int] = []  # exit codes, -9 for SIGKILL
        self.bitten = 0  # how often the watchdog was not fed
        self._house = house
        self._watchdog_s = watchdog_s
        self._over = threading.Event()
        self._path = house.folder / "notify"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The agent's process id."""
        return self._house.processes["agent"].pid

    def kill(self) -> None:
        """End the agent as the kernel does when memory runs out."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the agent in order, and start it no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(self._path))
            told.settimeout(_GLANCE_S)
            while not self._over.is_set():
                self._start()
                self._watch(told)
            self._house.stop("agent")

    def _start(self) -> None:
        usec = str(round(self._watchdog_s * 1e6))
        self._house.start_agent(NOTIFY_SOCKET=str(self._path), WATCHDOG_USEC=usec)

    def _watch(self, told: socket.socket) -> None:
        """Return when the agent has ended, or when nobody is to watch it any more."""
        process = self._house.processes["agent"]
        fed_s = time.monotonic()
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                fed_s = time.monotonic() if b"=1" in told.recv(1000) else fed_s
            if time.monotonic() - fed_s > self._watchdog_s:
                self.bitten += 1
                process.kill()
                process.wait()
            if process.poll() is not None:
                self.endings.append(process.returncode)
                return


@contextmanager
def kept_running(
    house: Household, serving: str = "", *, watchdog_s: float = 60.0
) -> Iterator[Init]:
    """Run the agent of a household for ever, models in its own process.

    `serving` are more lines of that table of its provisioning file.
    """
    text = house.config.read_text("utf-8")
    table = f'[serving]\nprocess = "shared"\n{serving}\n'
    house.config.write_text(f"{text}\n{table}", "utf-8")
    init = Init(house, watchdog_s)
    try:
        yield init
    finally:
        init.stop()
