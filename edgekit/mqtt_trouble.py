"""Say why a session with a broker did not begin, or ended, and whether that may pass.

Knows no sockets, and of MQTT the numbers of refusals only.
"""

import ssl
from dataclasses import dataclass

_SERVER_UNAVAILABLE = 0x88  # of MQTT 5's reason codes, as which paho gives those of 3.1.1
_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL's x509_vfy.h
# What OpenSSL's names for alerts (RFC 8446, section 6.2) and its own findings have in them
# where no other attempt ends differently; internal_error, say, is none of these.
_REFUSALS = (
    "CERTIFICATE",
    "UNKNOWN_CA",
    "ACCESS_DENIED",
    "HANDSHAKE_FAILURE",  # no cipher in common, or with TLS 1.2 no certificate of ours
    "INSUFFICIENT_SECURITY",
    "PROTOCOL_VERSION",
    "UNSUPPORTED_PROTOCOL",
    "UNRECOGNIZED_NAME",
    "WRONG_VERSION_NUMBER",  # no TLS at all
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A reason for people; `lasting`: it stays until somebody mends something."""

    reason: str = ""
    lasting: bool = False


def of_error(error: OSError) -> Trouble:
    """Return what an error of the system, of DNS or of TLS comes to.

    Whatever the network does may pass. A certificate that one side does not accept, or a
    peer that speaks no TLS, stays so; a connection that went amid TLS's handshake does not,
    nor does a mishap of the peer. A certificate that is not yet valid waits for our clock,
    which boards without a battery set after they have started.
    """
    if isinstance(error, ssl.SSLError):
        told = (getattr(error, name, "") for name in ("verify_message", "reason"))
        return Trouble(f"TLS: {next(filter(None, told), error)}", lasting=_stays(error))
    return Trouble(error.strerror or str(error))


def _stays(error: ssl.SSLError) -> bool:
    if isinstance(error, ssl.SSLCertVerificationError):
        return getattr(error, "verify_code", None) != _NOT_YET_VALID
    # No reason is told where OpenSSL is newer than Python's names for its errors.
    reason = getattr(error, "reason", None) or ""
    return any(refusal in reason for refusal in _REFUSALS)


def of_refusal(code: int, name: str) -> Trouble:
    """Return what a broker's answer to CONNECT comes to, `code` being no success.

    Of the five refusals of MQTT 3.1.1 only "server unavailable" may pass; the others are
    of our protocol version, client id, password or rights.
    """
    return Trouble(f"the broker refuses: {name}", lasting=code != _SERVER_UNAVAILABLE)
