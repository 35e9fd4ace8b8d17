"""Start a broker on loopback for a demonstration or a test. Never for production.

It prefers a mosquitto found on the machine, else the nats-server binary that the extra
`embedded-broker` installs (docs/adr/0003-embedded-broker.md). Knows nothing of edgekit's
topics. Everybody on the machine may connect; nothing is encrypted.

`python -m edgekit.embedded_broker FOLDER` runs one until it is ended.
"""

import argparse
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from edgekit.errors import ConfigError, TransportError

HOST = "127.0.0.1"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# A child asks the kernel to be killed with its parent, then becomes the broker.
_DIE_WITH_PARENT = f"""
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, int(signal.SIGKILL))
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
user {user}
# Without it, small exchanges take 30 times as long.
set_tcp_nodelay true
# What one slow receiver may cost in memory: this many messages.
max_queued_messages 1000
max_inflight_messages 100
max_packet_size 131072
# A killed mosquitto loses its retained messages unless it saves them in time.
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 20
log_dest stderr
"""

_NATS = """\
server_name: "edgekit-embedded"
listen: "{host}:-1"
jetstream {{ store_dir: "{folder}/jetstream", max_mem: 64M, max_file: 512M }}
mqtt {{ host: "{host}", port: {port}, max_ack_pending: 100 }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBroker:
    """A broker that runs as a child process until stop(), or until its parent dies."""

    kind: str  # "mosquitto" or "nats-server"
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it in order; retained messages are kept in its folder."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a power cut would; start() on its folder and port brings it back."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        """Return itself, to be stopped at the end of the block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop."""
        self.stop()


def start(folder: Path, port: int = 0, *, kind: str | None = None) -> EmbeddedBroker:
    """Start a broker that keeps its state in `folder`, on a free port unless told.

    `kind` insists on "mosquitto" or "nats-server". Call it from a thread that lives as
    long as the broker shall (the main one): Linux takes the end of that thread for the
    end of the parent. Raises ConfigError when there is no broker to start or the port is
    taken, TransportError when it does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    port = _free_port(port)
    kind, program = _find(kind)
    config = folder / f"{kind}.conf"
    template = _MOSQUITTO if kind == "mosquitto" else _NATS
    user = pwd.getpwuid(os.geteuid()).pw_name
    config.write_text(template.format(host=HOST, port=port, folder=folder, user=user))
    log = folder / f"{kind}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - a broker found on this machine
            [*_parent_bound_python(), program, "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    broker = EmbeddedBroker(
        kind=kind, url=f"mqtt://{HOST}:{port}", log=log, process=process
    )
    _await_listening(broker, port)
    return broker


def _parent_bound_python() -> list[str]:
    return [sys.executable, "-I", "-c", _DIE_WITH_PARENT, str(os.getpid())]


def _find(wanted: str | None) -> tuple[str, str]:
    """Return the kind and the path of the broker to start."""
    path = os.pathsep.join(
        (os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")
    )
    beside_python = str(Path(sys.executable).parent)
    for kind, where in (
        ("mosquitto", path),
        ("nats-server", os.pathsep.join((beside_python, path))),
    ):
        program = shutil.which(kind, path=where)
        if program and wanted in (None, kind):
            return kind, program
    raise ConfigError(
        f"no {wanted or 'MQTT broker'} to start: install mosquitto (apt install"
        " mosquitto), or edgekit-core[embedded-broker]"
    )


def _free_port(wanted: int) -> int:
    """Return a port on which nobody listens: the wanted one, any for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise ConfigError(
                f"port {wanted}: {error.strerror}; a free one is expected, 0 finds one"
            ) from error
        port: int = probe.getsockname()[1]
        return port


def _await_listening(broker: EmbeddedBroker, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and broker.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.02)
    broker.kill()
    lines = broker.log.read_text("utf-8", errors="replace").splitlines()
    last = lines[-1] if lines else "it said nothing"
    raise TransportError(f"{broker.kind}: did not come up on port {port}: {last}")


def main() -> None:
    """Print a broker's URL and run it until SIGTERM, Ctrl-C or its own end."""
    parser = argparse.ArgumentParser(
        prog="python -m edgekit.embedded_broker",
        description="Run an MQTT broker for this machine alone, to try things out. "
        "Everybody on the machine may connect; nothing is encrypted.",
    )
    parser.add_argument("folder", type=Path, help="where it keeps its state and log")
    parser.add_argument(
        "--port", type=int, default=0, help="where it listens (default: a free port)"
    )
    options = parser.parse_args()
    try:
        with start(options.folder, options.port) as broker:
            signal.signal(signal.SIGTERM, _leave)
            sys.stdout.write(f"{broker.url}\n")
            sys.stdout.flush()
            broker.process.wait()
    except KeyboardInterrupt:
        return
    except (ConfigError, TransportError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit()  # by way of stop()


if __name__ == "__main__":
    main()
