"""Let python-tuf read from a MetadataSource. Knows no transport and verifies nothing."""

from collections.abc import Iterator
from urllib.parse import unquote

from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.fetcher import FetcherInterface

from edgekit.trust.limits import MESSAGE_BYTES
from edgekit.trust.source import MetadataSource

BASE_URL = "source:///"
NOT_FOUND = 404


class SourceFetcher(FetcherInterface):
    """Fetches by name; `current` is the last name asked for, `data` what it held.

    Errors of the source pass through as they are; an absent file becomes HTTP's 404,
    which is how python-tuf learns that there is no newer root.
    """

    def __init__(self, source: MetadataSource) -> None:
        self._source = source
        self.current = ""
        self.data = b""

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, MESSAGE_BYTES)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return the file that a URL of python-tuf means; it quotes role names."""
        return self.read(unquote(url.removeprefix(BASE_URL)), max_length)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a named file, or raise a tuf DownloadError."""
        self.current = name
        data = self._source.file(name, max_bytes)
        if data is None:
            raise DownloadHTTPError(f"{name}: no such file", NOT_FOUND)
        if len(data) > max_bytes:
            raise DownloadLengthMismatchError(f"more than {max_bytes} bytes")
        self.data = data
        return data
