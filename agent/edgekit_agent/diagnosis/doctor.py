"""Every look in the order in which an update needs what they find. Changes nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime

from edgekit.errors import TransportError, TrustError
from edgekit.trust.floor import Floor
from edgekit_agent import client
from edgekit_agent.config import Config
from edgekit_agent.diagnosis import folder, hooks, offer, receipts, system, telemetry
from edgekit_agent.diagnosis.finding import Finding, fine, trouble
from edgekit_agent.storage.store import Store


def examine(settings: Config) -> Iterator[Finding]:
    """Yield each finding as soon as it is there; the broker may take its time."""
    store = Store(settings.state_dir)
    floor = _floor(store)
    yield from system.look(settings, floor.issued)
    yield system.freshness(datetime.now(UTC), floor, settings.staleness)
    yield from folder.look(settings, store)
    yield from hooks.look(settings)
    yield from receipts.look(settings)
    yield from telemetry.look(settings, store)
    yield _daemon(settings)
    yield from offer.look(settings, store)


def _daemon(settings: Config) -> Finding:
    try:
        answering = client.answers(settings.socket)
    except TransportError:
        answering = False
    if answering:
        return fine("agent", f"it answers on {settings.socket}")
    return trouble(
        "agent",
        f"nothing answers on {settings.socket}",
        "start it: systemctl start edgekit-agent; its log: journalctl -u edgekit-agent",
    )


def _floor(store: Store) -> Floor:
    try:
        return Floor.from_json((store.tuf / "floor.json").read_bytes())
    except (OSError, TrustError):
        return Floor(fleet="")
