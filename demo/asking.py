"""Ask one device for predictions without a pause, and keep the score.

What an application on the device does: HTTP on the agent's Unix socket, in MLflow's scoring
protocol. Knows nothing of edgekit's insides.
"""

import http.client
import json
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

RECENT = 200
PAUSE_S = 0.03
RETRY_S = 0.2


@dataclass(slots=True)
class Score:
    """What one version answered: which held-out rows it got right, the last latencies."""

    right: dict[int, bool] = field(default_factory=dict)
    latencies_us: list[float] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """Share of the rows asked so far that were answered right, 0 to 1."""
        return sum(self.right.values()) / len(self.right) if self.right else 0.0

    @property
    def p50_us(self) -> float:
        """Median of the last answers, request to answer, HTTP included."""
        return statistics.median(self.latencies_us) if self.latencies_us else 0.0


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Asker(threading.Thread):
    """Asks for one held-out row after the other until stop().

    `lost` counts requests that got no answer once a model was serving.
    """

    def __init__(self, sock: Path, rows: Sequence[tuple[dict[str, float], int]]) -> None:
        super().__init__(daemon=True)
        self.scores: dict[str, Score] = {}
        self.answered = 0
        self.lost = 0
        self.trouble = ""
        self._socket = sock
        self._rows = rows
        self._stopping = threading.Event()

    def run(self) -> None:
        """Ask; a broken connection is opened anew."""
        connection = _Connection(self._socket)
        number = 0
        while not self._stopping.is_set():
            try:
                self._ask(connection, number % len(self._rows))
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                self._missed(error)
                continue
            number += 1
            self._stopping.wait(PAUSE_S)
        connection.close()

    def stop(self) -> None:
        """End after the answer that is under way."""
        self._stopping.set()
        self.join()

    def _ask(self, connection: _Connection, number: int) -> None:
        row, label = self._rows[number]
        began = time.perf_counter()
        connection.request(
            "POST",
            "/invocations",
            json.dumps({"dataframe_records": [row]}),
            {"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        body = response.read()
        took_us = (time.perf_counter() - began) * 1e6
        if response.status != http.client.OK:
            raise ValueError(f"HTTP {response.status}: {body.decode(errors='replace')}")
        version = response.getheader("X-Edgekit-Version", "?")
        score = self.scores.setdefault(version, Score())
        score.right[number] = json.loads(body)["predictions"][0] == label
        score.latencies_us = [*score.latencies_us[-RECENT:], took_us]
        self.answered += 1

    def _missed(self, error: Exception) -> None:
        if self.answered:
            self.lost += 1
            self.trouble = str(error)
        self._stopping.wait(RETRY_S)
