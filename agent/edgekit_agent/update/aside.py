"""Do one piece of work at a time aside, in a thread. Knows not what the work is."""

import threading
from collections.abc import Callable


class Aside:
    """At most one piece of work is under way; its error is raised to who waits for it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, work: Callable[[], None]) -> None:
        """Begin a piece of work when the one before is done; raises what that raised."""
        self.wait()
        self._thread = threading.Thread(target=self._do, args=(work,), name="aside")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the work under way, if any, and raise what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by wait()
            self._error = error
