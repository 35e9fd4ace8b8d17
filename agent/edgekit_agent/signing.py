"""The process that signs a receipt with this device's key, says so and ends.

The resident process holds neither the key nor the library that signs.
"""

import argparse
import stat
from pathlib import Path

from edgekit.errors import ConfigError, EdgekitError
from edgekit.receipt import Receipt
from edgekit.trust import receipt as signed
from edgekit_agent import lines

_OTHERS = stat.S_IRWXO


def main() -> None:
    """Sign one receipt."""
    parser = argparse.ArgumentParser(prog="edgekit_agent.signing", description=__doc__)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--receipt", required=True)
    arguments = parser.parse_args()
    voice = lines.Voice.claim()
    try:
        receipt = Receipt.from_json(arguments.receipt.encode())
        envelope = signed.sign(receipt, secret(arguments.key))
    except EdgekitError as error:
        voice.say("failed", reason=str(error))
        return
    voice.say("signed", envelope=envelope.decode())


def secret(path: Path) -> bytes:
    """Return a key file's content, or raise ConfigError; others must not read it."""
    try:
        if path.stat().st_mode & _OTHERS:
            mode = stat.S_IMODE(path.stat().st_mode)
            raise ConfigError(f"{path}: mode {mode:o}, others may use it; 640 is expected")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    main()
