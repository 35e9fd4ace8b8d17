"""Put an agent together from its provisioning file and run it until it is told to stop.

The composition root: the only place that knows every part of the supervisor.
"""

import hashlib
import logging
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from edgekit import __version__
from edgekit.errors import StoreError
from edgekit.mqtt import LastWill, MqttTransport, SessionOptions
from edgekit.statement import slug
from edgekit.wire import Topics
from edgekit_agent import memory
from edgekit_agent.config import Config, Environment, Place
from edgekit_agent.rules.state import Moment, Policy
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision import report
from edgekit_agent.supervision.lifeline import Lifeline
from edgekit_agent.supervision.notify import Notifier
from edgekit_agent.supervision.recovery import find_lost
from edgekit_agent.supervision.settings import Settings
from edgekit_agent.supervision.supervisor import Supervisor

log = logging.getLogger(__name__)

LOCK_WAIT_S = 15.0
LIFELINE = "serving.json"  # in the state folder


def run(path: Path, config: Config, environment: Environment) -> None:
    """Run the agent of the provisioning file at `path`; return after an orderly stop.

    Raises StoreError when the state folder cannot be used, ConfigError when the broker's
    files cannot.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    log.info("edgekit-agent %s: device %s", __version__, config.device)
    memory.keep_heap_small()
    store = Store(config.state_dir)
    store.prepare()
    lock = store.lock(wait_s=LOCK_WAIT_S)
    find_lost(path, store, config.models)
    _make(config.runtime_dir)
    topics = Topics(fleet=config.fleet)
    transport = MqttTransport.connect(
        config.broker,
        client_id=f"edgekit-{slug(config.device)}",
        will=LastWill(topic=topics.presence(config.device), payload=report.offline()),
        # what is on the disk is served before any broker answers
        options=SessionOptions(patient=True),
    )
    supervisor = Supervisor(
        config,
        _settings(path, config, environment, lock),
        store=store,
        transport=transport,
        notifier=Notifier(environment.notify_socket),
        clock=now,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: supervisor.stop())
    supervisor.run()


def now() -> Moment:
    """Return this moment."""
    utc = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Moment(s=time.monotonic(), utc=utc)


def spread(device: str) -> float:
    """Return a device's own share of every delay, 0 to 1, always the same."""
    return int.from_bytes(hashlib.sha256(device.encode()).digest()[:4]) / 2**32


def _settings(path: Path, config: Config, environment: Environment, lock: int) -> Settings:
    state_dir = ("--state-dir", str(config.state_dir))
    socket = ("--socket", str(config.socket))
    enforcement = ("--enforcement", config.enforcement)
    kept = config.shadow
    lifeline = Lifeline(config.state_dir / LIFELINE)
    shared = config.serving.process is Place.SHARED
    if not shared:
        lifeline.leave()
    limit = ("--request-s", str(config.serving.limit_s))
    recent = ("--recent-rows", str(kept.rows), "--recent-bytes", str(kept.most_bytes))
    at_port = config.serving.port
    port = () if at_port is None else ("--port", str(at_port))
    return Settings(
        updater=("edgekit_agent.update.updater", str(path.absolute())),
        proof=("edgekit_agent.proof", *state_dir),
        worker=(
            "edgekit_agent.service.worker",
            *state_dir,
            *socket,
            *enforcement,
            *port,
            *recent,
            *limit,
        ),
        lock=lock,
        policy=Policy(spread=spread(config.device)),
        watchdog_s=environment.watchdog_s,
        lifeline=lifeline if shared else None,
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made: {error.strerror}") from error
