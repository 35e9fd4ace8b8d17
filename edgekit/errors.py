"""Every error edgekit raises, grouped by what the caller does next.

EdgekitError
├── TrustError         what arrived must not run: keep the old model, raise the alarm
├── TransportError     the network or the broker: wait and retry
├── StoreError         the disk is full, read-only or damaged: not now, tell the operator
├── AdmissionError     verified, but this device cannot hold or run it: keep the old model
├── ProofError         verified, but it misbehaved on this device: keep the old model
├── ConfigError        a file, option or command that a person wrote: say what to fix
├── BoardError         no such board, or nothing fits it: say by how much
├── ConversionError    the model cannot be converted faithfully: say what to do
├── RegistryError      MLflow does not know it, or does not answer: say what to fix
└── SchemaError        input rows that the model's signature refuses: tell the caller
    └── RequestError   not the scoring protocol, or values that cannot be read as the type

Messages read subject, fact, expectation: "camera-v7: opset 21, board pi-zero-2 runs up
to 19". `exit_code` is what the commands exit with; docs/cli.md lists them.
"""


class EdgekitError(Exception):
    """Anything edgekit raises on purpose."""

    exit_code = 1


class ConfigError(EdgekitError):
    """Something a person wrote cannot be used as it is."""

    exit_code = 3


class RegistryError(EdgekitError):
    """MLflow does not know what was asked for, or does not answer."""

    exit_code = 4


class ConversionError(EdgekitError):
    """The model cannot be converted faithfully."""

    exit_code = 5


class BoardError(EdgekitError):
    """There is no such board, or nothing fits it."""

    exit_code = 6


class TrustError(EdgekitError):
    """What arrived must not run."""

    exit_code = 7


class TransportError(EdgekitError):
    """The network failed; trying again may help.

    `lasting`: not before a person has mended something, as the broker refuses what it was
    shown: credentials, a certificate.
    """

    exit_code = 8
    lasting = False


class SchemaError(EdgekitError):
    """Input rows that the model's signature refuses.

    `column` is the name of the input it is about, "" where it is about none of them: what
    is refused is counted by it.
    """

    exit_code = 9
    column = ""


class RequestError(SchemaError):
    """A request that cannot be read, before any signature is enforced."""


class StoreError(EdgekitError):
    """The disk is full, read-only or damaged."""

    exit_code = 10


class AdmissionError(EdgekitError):
    """A verified release that this device cannot hold or run."""

    exit_code = 11


class ProofError(EdgekitError):
    """A verified model that misbehaved on this device."""

    exit_code = 12
