"""Tell systemd that the service is ready, alive and stopping. Knows no systemd library.

The protocol is sd_notify(3): datagrams of KEY=VALUE lines to the socket in NOTIFY_SOCKET,
whose name starts with @ where it is abstract.
"""

import logging
import socket

log = logging.getLogger(__name__)


class Notifier:
    """Messages to the service manager; without a socket none are sent."""

    def __init__(self, address: str | None) -> None:
        self._address = address and address.replace("@", "\0", 1)

    def ready(self) -> None:
        """The service serves, or will as soon as it has a model."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """An orderly stop has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            try:
                manager.sendto(message.encode(), self._address)
            except OSError as error:
                log.warning("systemd does not listen: %s", error.strerror)
