"""The state folder: whether it can be written, has room, and holds what it should."""

import tempfile
from collections.abc import Iterator

from edgekit.errors import StoreError
from edgekit_agent.config import Config
from edgekit_agent.diagnosis.finding import Finding, fine, note, trouble
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store

_MB = 2**20
_ROOM_BYTES = 16 * _MB  # less than this is little for metadata and the smallest bundle


def look(settings: Config, store: Store) -> Iterator[Finding]:
    """Look at the folder and at what it holds of each model."""
    writable = _writable(settings)
    yield writable
    try:
        yield _room(settings, store)
        for wanted in settings.models:
            yield from _model(store, wanted.model, settings)
    except StoreError as error:
        yield trouble("state folder", str(error), "see that the disk works")


def _writable(settings: Config) -> Finding:
    folder = settings.state_dir
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except OSError as error:
        return trouble(
            "state folder",
            f"{folder}: {error.strerror}",
            "run the doctor as the agent's user (sudo -u edgekit), and see that this user"
            " may write there and the disk is not read-only or full",
        )
    return fine("state folder", f"{folder} can be written")


def _room(settings: Config, store: Store) -> Finding:
    used, free = store.used_bytes(), store.free_bytes()
    limit = settings.limits.model_flash_bytes
    fact = (
        f"bundles take {used / _MB:,.1f} of {limit / _MB:,.0f} MB, the disk has"
        f" {free / _MB:,.0f} MB free"
    )
    if free < _ROOM_BYTES or used >= limit:
        return trouble("space", fact, "free space on the disk, or raise model_flash_mb")
    return fine("space", fact)


def _model(store: Store, model: str, settings: Config) -> Iterator[Finding]:
    record = store.load(settings.subscription(model))
    subject = f"model {model}"
    if record.current is None:
        yield note(subject, "nothing of it is here yet")
    elif bundles.holds(store, record.current.sha256):
        yield fine(subject, f"version {record.current.version} is here and whole")
    else:
        yield trouble(
            subject,
            f"version {record.current.version}: its files are damaged or gone",
            "restart the agent: it fetches them again",
        )
    if record.trouble is not None:
        said = record.trouble
        yield note(
            subject, f"last setback ({said.kind.value}, {said.at}): {said.reason[:200]}"
        )
