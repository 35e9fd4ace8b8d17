"""Where a broker is and how to be let in. Knows no MQTT; reads secrets when asked to."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

from edgekit.document import Reader, refuse_unknown
from edgekit.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and how to be let in: `mqtt://host:port` or `mqtts://…`.

    Secrets stay in files; an address may be logged.
    """

    url: str
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    _PORTS: ClassVar[Mapping[str, int]] = {"mqtt": 1883, "mqtts": 8883}
    _FILES: ClassVar[tuple[str, ...]] = (
        "password_file",
        "ca_file",
        "cert_file",
        "key_file",
    )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with ConfigError."""
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in self._PORTS and parts.hostname and parts.port != 0
            (parts.hostname or "").encode("idna")
        except ValueError:
            known = False
        if not known:
            raise ConfigError(
                f"broker {self.url}: mqtt://host:port or mqtts://host:port is expected"
            )
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                f"broker {parts.hostname}: credentials in the URL, the keys username and"
                " password_file are expected"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigError(f"broker {self.url}: nothing is expected after the port")
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            raise ConfigError(f"broker {self.url}: TLS files need an mqtts:// URL")
        if self.key_file and not self.cert_file:
            raise ConfigError(f"broker {self.url}: key_file needs cert_file")
        if self.password_file and not self.username:
            raise ConfigError(f"broker {self.url}: password_file needs username")

    @classmethod
    def from_table(cls, table: Mapping[str, object], *, subject: str) -> Self:
        """Parse a configuration table; ConfigError names what is wrong in it."""
        known = ("url", "username", *cls._FILES)
        refuse_unknown(table, known, subject=subject, error=ConfigError)
        reader = Reader(table=table, subject=subject, error=ConfigError)
        files = {key: Path(reader.text(key)) for key in cls._FILES if key in table}
        username = reader.text("username") if "username" in table else None
        return cls(url=reader.text("url"), username=username, **files)

    def to_table(self) -> dict[str, str]:
        """Return what from_table() reads, for files that edgekit writes."""
        values = {key: getattr(self, key) for key in ("url", "username", *self._FILES)}
        return {key: str(value) for key, value in values.items() if value is not None}

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("mqtts:")

    @property
    def host(self) -> str:
        """The broker's name or address."""
        return str(urlsplit(self.url).hostname)

    @property
    def port(self) -> int:
        """The broker's port."""
        parts = urlsplit(self.url)
        return parts.port or self._PORTS[parts.scheme]

    def password(self) -> str | None:
        """Read the password: the first line of its file."""
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text("utf-8").split("\n", 1)[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"password_file {self.password_file}: {error}") from error

    def tls_context(self) -> ssl.SSLContext:
        """Read the certificates; ConfigError when they cannot be used."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"broker {self.url}: TLS files: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
