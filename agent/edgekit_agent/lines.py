"""How the agent's processes talk: one JSON object a line, over pipes.

Knows no messages. A child claims its standard output, so that no library can print into
the conversation.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Protocol, TextIO

MAX_LINE_BYTES = 256 * 1024


def encode(document: Mapping[str, object]) -> bytes:
    """Return one line."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def read(stream: IO[bytes]) -> Iterator[dict[str, object]]:
    """Yield objects until the stream ends; a line that is none ends it too."""
    while line := stream.readline(MAX_LINE_BYTES):
        try:
            document = json.loads(line)
        except ValueError:
            return
        if not isinstance(document, dict):
            return
        yield document


class Speaker(Protocol):
    """Something the supervisor listens to. Any thread may speak."""

    def say(self, event: str, **fields: object) -> None:
        """Send one object."""


class Voice:
    """A child's way to speak to the supervisor. Any thread may."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    @classmethod
    def claim(cls) -> "Voice":
        """Take standard output for the conversation; prints go to standard error."""
        private = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        return cls(os.fdopen(private, "wb"))

    def say(self, event: str, **fields: object) -> None:
        """Send one object; when nobody listens any more the process ends."""
        with self._lock:
            try:
                self._stream.write(encode({"event": event, **fields}))
                self._stream.flush()
            except BrokenPipeError:
                os._exit(0)


def end_with(stream: TextIO, heard: Callable[[str], None]) -> None:
    """Pass on each line of `stream` in the background; end the process at its end.

    The supervisor holds the other side: a child must not outlive it, even if it was
    killed, and nothing verified is lost by stopping anywhere.
    """

    def follow() -> None:
        for line in stream:
            heard(line.strip())
        os._exit(0)

    threading.Thread(target=follow, name="supervisor", daemon=True).start()
