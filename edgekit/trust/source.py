"""The port through which metadata files arrive. Knows no TUF and no transport."""

from typing import Protocol


class MetadataSource(Protocol):
    """Whatever offers the named files of a repository: MQTT, a folder, HTTPS.

    A source is not trusted: everything it returns is verified.
    """

    def file(self, name: str, max_bytes: int) -> bytes | None:
        """Return a file's bytes, None when there is no such file.

        A file above `max_bytes` may be cut anywhere behind them: more than `max_bytes`
        bytes are refused whatever they hold. Raises TransportError when it cannot be
        known whether the file exists.
        """
