"""Fetch one bundle over MQTT onto the disk, resuming what is there.

A thin doer: edgekit_agent.update.receiver decides, edgekit_agent.update.partial keeps.
Memory is bounded by the window and the transport's queue, whatever the bundle's size.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from edgekit.bundle import chunk_digest
from edgekit.errors import StoreError, TransportError, TrustError
from edgekit.statement import BundleEntry
from edgekit.transport import Arrival, Connected, Disconnected, Message, Transport
from edgekit.wire import Topics
from edgekit_agent.update.files import Files
from edgekit_agent.update.partial import Partial, final_path
from edgekit_agent.update.receiver import (
    Accepted,
    Ignored,
    Receiver,
    ReceiverRules,
    Refused,
    Unsolved,
    Verdict,
)
from edgekit_agent.update.standstill import Patience, Standstill
from edgekit_agent.update.whole import file_digest

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # bytes here, bytes in all
Count = Callable[[int], None]


def _no_progress(_here: int, _all: int) -> None:
    """Tell nobody."""


def uncounted(_chunks: int) -> None:
    """Tell nobody."""


@dataclass(slots=True, kw_only=True)
class _Fetch:
    """The pieces of one running fetch."""

    subject: str
    transport: Transport
    topic: str
    repair_topic: str
    want_topic: str
    partial: Partial
    receiver: Receiver
    progress: Progress
    refused: Count
    clock: Callable[[], float]
    standstill: Standstill
    length: int
    here: int


def fetch_bundle(  # noqa: PLR0913, PLR0917 - a fetch's nouns come from as many places
    transport: Transport,
    topics: Topics,
    device: str,
    entry: BundleEntry,
    index: bytes,
    folder: Path,
    *,
    progress: Progress = _no_progress,
    refused: Count = uncounted,
    clock: Callable[[], float] = time.monotonic,
    patience: Patience | None = None,
    rules: ReceiverRules | None = None,
    files: Files | None = None,
) -> Path:
    """Return the path of the whole, verified bundle in `folder`.

    `entry` and `index` come from signed metadata. Raises TrustError when they contradict
    each other, TransportError when patience ends, StoreError when the disk refuses; what
    was verified stays, and the next call resumes. It alone receives from `transport`. In
    the end `refused` is told how many messages held no chunk of this bundle, if any did.
    """
    final = final_path(folder, entry)
    if _is_whole(final, entry):
        return final
    with Partial(entry, index, folder, files) as partial:
        receiver = Receiver(entry=entry, index=index, have=partial.have, rules=rules)
        fetch = _begin(transport, topics, device, entry, partial, receiver, clock)
        fetch.progress, fetch.refused = progress, refused
        if patience is not None:
            fetch.standstill = Standstill(
                chunks=entry.chunks, patience=patience, now=clock()
            )
        _run(fetch, lambda: _complete(fetch))
        return partial.finish()


def fetch_chunks(  # noqa: PLR0913, PLR0917 - a fetch's nouns come from as many places
    transport: Transport,
    topics: Topics,
    device: str,
    entry: BundleEntry,
    index: bytes,
    folder: Path,
    numbers: Iterable[int],
    *,
    refused: Count = uncounted,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """Return these chunks of a bundle, one after the other, verified.

    They stay in `folder` for fetch_bundle, which fetches only the others. Raises as it,
    and TrustError when the disk changed one, which fetch_bundle heals.
    """
    wanted = sorted(numbers)
    with Partial(entry, index, folder) as partial:
        have = partial.have | (set(range(entry.chunks)) - set(wanted))
        receiver = Receiver(entry=entry, index=index, have=have, repairs=False)
        fetch = _begin(transport, topics, device, entry, partial, receiver, clock)
        fetch.refused = refused
        if not receiver.complete:
            _run(fetch, lambda: receiver.complete)
        chunks = [partial.read(number) for number in wanted]
    if [hashlib.sha256(data).digest() for data in chunks] != [
        chunk_digest(index, number) for number in wanted
    ]:
        raise TrustError(f"{entry.flavor}: a chunk changed on the disk")
    return b"".join(chunks)


def _begin(  # noqa: PLR0913, PLR0917 - as above
    transport: Transport,
    topics: Topics,
    device: str,
    entry: BundleEntry,
    partial: Partial,
    receiver: Receiver,
    clock: Callable[[], float],
) -> _Fetch:
    return _Fetch(
        subject=f"bundle {entry.flavor} {entry.sha256[:12]}",
        transport=transport,
        topic=topics.blob(entry.sha256),
        repair_topic=topics.repair(entry.sha256),
        want_topic=topics.want(device),
        partial=partial,
        receiver=receiver,
        progress=_no_progress,
        refused=uncounted,
        clock=clock,
        standstill=Standstill(chunks=entry.chunks, patience=Patience(), now=clock()),
        length=entry.length,
        here=partial.have_bytes,
    )


def _run(fetch: _Fetch, complete: Callable[[], bool]) -> None:
    fetch.progress(fetch.here, fetch.length)
    fetch.transport.subscribe(fetch.topic, fetch.repair_topic, qos=0)
    try:
        while not complete():
            _step(fetch)
        _ask(fetch)  # the goodbye: nothing is missing
    finally:
        fetch.transport.unsubscribe(fetch.topic, fetch.repair_topic)
        if refused := fetch.standstill.refused:
            logger.warning("%s: %d chunks were refused", fetch.subject, refused)
            fetch.refused(refused)


def _complete(fetch: _Fetch) -> bool:
    """Whether all is here and undamaged; what is damaged is asked for again."""
    if not fetch.receiver.complete:
        return False
    lost = fetch.partial.damaged()
    if lost:
        logger.warning("%s: %d chunks were damaged on disk", fetch.subject, len(lost))
        fetch.receiver.lost(lost)
        fetch.here = fetch.partial.have_bytes
    return not lost


def _step(fetch: _Fetch) -> None:
    """Ask if a want is due, then take one arrival, if one comes in time."""
    _ask(fetch)
    now = fetch.clock()
    reason = fetch.standstill.reason(now)
    if reason is not None:
        raise TransportError(
            f"{fetch.subject}: {reason}; {fetch.here} of {fetch.length} bytes are here, the"
            " next attempt resumes there"
        )
    wait_s = min(fetch.receiver.wait_s(now), fetch.standstill.wait_s(now))
    arrival = fetch.transport.receive(wait_s)
    if arrival is not None:
        _take(fetch, arrival)


def _ask(fetch: _Fetch) -> None:
    want = fetch.receiver.want(fetch.clock())
    if want is not None:
        fetch.transport.publish(fetch.want_topic, want.encode(), qos=1)


def _take(fetch: _Fetch, arrival: Arrival) -> None:
    match arrival:
        case Connected():
            fetch.receiver.session_began()
        case Disconnected(reason=reason):
            logger.info("%s: waiting for the broker: %s", fetch.subject, reason)
            fetch.receiver.session_ended()
        case Message(topic=fetch.topic, payload=payload):
            _judged(fetch, fetch.receiver.chunk(payload))
        case Message(topic=fetch.repair_topic, payload=payload):
            _judged(fetch, fetch.receiver.repair(payload, fetch.partial.read))
        case Message():
            pass  # of an earlier subscription
        case _:
            assert_never(arrival)


def _judged(fetch: _Fetch, verdict: Verdict) -> None:
    fetch.standstill.note(verdict, fetch.clock())
    match verdict:
        case Accepted(number=number, data=data):
            fetch.partial.add(number, data)
            fetch.here += len(data)
            fetch.progress(fetch.here, fetch.length)
        case Refused(reason=reason):
            logger.debug("%s: refused: %s", fetch.subject, reason)
            if not fetch.receiver.takes_repairs:
                fetch.transport.unsubscribe(fetch.repair_topic)
        case Ignored() | Unsolved():
            pass
        case _:
            assert_never(verdict)


def _is_whole(path: Path, entry: BundleEntry) -> bool:
    """Whether the finished bundle is there and undamaged."""
    try:
        return path.is_file() and file_digest(path) == entry.sha256
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
