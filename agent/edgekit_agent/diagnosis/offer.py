"""What the fleet offers this device: broker, depot, signatures, and what fits here.

Works on a copy of the trusted metadata, so that the agent may run meanwhile; what it
finds out is not kept.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekit.errors import (
    AdmissionError,
    ConfigError,
    StoreError,
    TransportError,
    TrustError,
)
from edgekit.mqtt import MqttTransport
from edgekit.statement import slug
from edgekit.transport import Transport
from edgekit.trust.client import ExpiredError, TrustClient, Vouched
from edgekit.wire import Topics
from edgekit_agent.config import Config
from edgekit_agent.diagnosis.finding import Finding, fine, note, trouble
from edgekit_agent.storage.store import Store
from edgekit_agent.subscription import Subscription
from edgekit_agent.update import admission
from edgekit_agent.update.metadata import RetainedFiles
from edgekit_agent.update.room import measured


def look(settings: Config, store: Store) -> Iterator[Finding]:
    """Connect, verify, and say of each model what is offered and whether it fits."""
    url = settings.broker.url
    try:
        client_id = f"edgekit-{slug(settings.device)}-doctor"
        transport = MqttTransport.connect(settings.broker, client_id=client_id)
    except (TransportError, ConfigError) as error:
        yield trouble(
            "broker",
            str(error),
            "see that it runs, that this network reaches it, and that the user name,"
            " password or certificate of agent.toml are the broker's",
        )
        return
    yield fine("broker", f"{url} lets this device in")
    try:
        yield from _verified(settings, store, transport)
    finally:
        transport.close()


def _verified(settings: Config, store: Store, transport: Transport) -> Iterator[Finding]:
    with TemporaryDirectory(prefix="edgekit-doctor-") as name:
        folder = Path(name) / "tuf"
        try:
            if store.tuf.is_dir():
                shutil.copytree(store.tuf, folder)
        except (OSError, shutil.Error) as error:
            yield trouble("state folder", str(error), "run the doctor as the agent's user")
            return
        files = RetainedFiles(transport, Topics(fleet=settings.fleet))
        try:
            client = TrustClient(
                folder,
                settings.root,
                files,
                datetime.now(UTC),
                fleet=settings.fleet,
                believe_clock=settings.staleness.believes_clock,
            )
            client.refresh()
        except (TransportError, TrustError, StoreError) as error:
            yield _refused(error)
            return
        yield fine("signatures", "the metadata are this fleet's, signed and not expired")
        for wanted in settings.models:
            yield _offered(settings, store, client, wanted)


def _refused(error: TransportError | TrustError | StoreError) -> Finding:
    match error:
        case TransportError():
            return trouble("depot", str(error), "start `edgekit depot` for this fleet")
        case ExpiredError():
            advice = "set this device's clock if it is wrong, else `edgekit keys renew`"
        case _:
            advice = (
                "somebody alters what the broker holds, or the fleet was founded anew:"
                " then enroll this device again"
            )
    return trouble("signatures", str(error), advice)


def _offered(
    settings: Config, store: Store, client: TrustClient, wanted: Subscription
) -> Finding:
    subject = f"model {wanted.model}"
    try:
        vouched = client.resolve(stage=wanted.stage, model=wanted.model)
    except (TransportError, TrustError, StoreError) as error:
        return _refused(error)
    if vouched is None:
        return note(
            subject,
            f"stage {wanted.stage} offers nothing of it",
            f"`edgekit release {wanted.model}` on the operator's machine",
        )
    return _fits(settings, store, wanted, vouched)


def _fits(
    settings: Config, store: Store, wanted: Subscription, vouched: Vouched
) -> Finding:
    subject = f"model {wanted.model}"
    offered = f"stage {wanted.stage} offers version {vouched.pointer.version}"
    record = store.load(wanted)
    known = {one.sha256 for one in (record.current,) if one is not None}
    if any(entry.sha256 in known for entry in vouched.entries):
        return fine(subject, f"{offered}, and it runs here")
    attempt = record.attempt
    if attempt and attempt.verdict and attempt.rollout == vouched.pointer.rollout:
        return trouble(
            subject,
            f"{offered}; it was given up here: {attempt.verdict.reason[:200]}",
            "release a version that works on this board, or the same one again to retry",
        )
    try:
        entry = admission.choose(
            offered, vouched.entries, measured(settings, store, vouched)
        )
    except admission.NoRoomNow as error:
        return trouble(subject, str(error), "it is tried again when there is room")
    except AdmissionError as error:
        return trouble(
            subject, str(error), "release a flavor that fits, or enroll the right board"
        )
    return note(subject, f"{offered}; {entry.flavor} fits and is about to be fetched")
