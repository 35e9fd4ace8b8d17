"""Say why a session with a broker did not begin, or ended, and whether that may pass.

Knows no sockets, and of MQTT the numbers of refusals only.
"""

import ssl
from dataclasses import dataclass

_SERVER_UNAVAILABLE = 0x88  # of MQTT 5's reason codes, as which paho gives those of 3.1.1
_CONNECTION_WENT = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A reason for people; `lasting`: it stays until somebody mends something."""

    reason: str = ""
    lasting: bool = False


def of_error(error: OSError) -> Trouble:
    """Return what an error of the system, of DNS or of TLS comes to.

    Whatever the network does may pass. A certificate that one side does not accept, or a
    peer that speaks no TLS, stays so; a connection that went amid TLS's handshake does not.
    """
    if isinstance(error, ssl.SSLError):
        told = (getattr(error, name, "") for name in ("verify_message", "reason"))
        lasting = not isinstance(error, _CONNECTION_WENT)
        return Trouble(f"TLS: {next(filter(None, told), error)}", lasting=lasting)
    return Trouble(error.strerror or str(error))


def of_refusal(code: int, name: str) -> Trouble:
    """Return what a broker's answer to CONNECT comes to, `code` being no success.

    Of the five refusals of MQTT 3.1.1 only "server unavailable" may pass; the others are
    of our protocol version, client id, password or rights.
    """
    return Trouble(f"the broker refuses: {name}", lasting=code != _SERVER_UNAVAILABLE)
