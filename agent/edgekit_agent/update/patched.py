"""Bring a bundle into the store from one that is there already, and a patch.

The manifest comes from the bundle's own first chunks, which signed data vouch for; every
member is checked against it. The offer and the patch are believed in nothing: whatever is
wrong with them, the whole bundle is fetched instead. Memory: see edgekit.delta.
"""

import io
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgekit.bundle import head_bytes, read_manifest
from edgekit.errors import TransportError, TrustError
from edgekit.manifest import Manifest
from edgekit.offer import Offer, Patch
from edgekit.statement import BundleEntry
from edgekit.transport import Message, Transport
from edgekit.wire import Topics
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store
from edgekit_agent.update.fetch import Count, fetch_bundle, fetch_chunks, uncounted
from edgekit_agent.update.standstill import Patience

log = logging.getLogger(__name__)

OFFER_S = 2.0  # a retained message comes at once, or there is none
PATIENCE = Patience(spoiled_s=5.0, silent_s=15.0, stuck_s=60.0)  # then the whole bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Patching:
    """Where patches come from and go to."""

    transport: Transport
    topics: Topics
    device: str
    store: Store
    progress: Callable[[int, int], None]
    refused: Count = uncounted
    clock: Callable[[], float] = time.monotonic

    def bring(
        self, entry: BundleEntry, index: bytes, held: Iterable[str]
    ) -> Manifest | None:
        """Return the manifest of the bundle, now in the store; None: fetch all of it.

        `held` are bundles that may be in the store. Raises StoreError when the disk
        refuses; nothing else that goes wrong is an error here.
        """
        here = [sha256 for sha256 in held if bundles.holds(self.store, sha256)]
        patch = self._offered(entry.sha256, here) if here else None
        if patch is None:
            return None
        subject = f"bundle {entry.sha256[:12]}: patch from {patch.old[:12]}"
        try:
            manifest = self._manifest(entry, index)
            path = fetch_bundle(
                self.transport,
                self.topics,
                self.device,
                patch.entry,
                patch.index,
                self.store.incoming,
                progress=self.progress,
                refused=self.refused,
                clock=self.clock,
                patience=PATIENCE,
            )
            bundles.add_patched(self.store, entry.sha256, manifest, patch.old, path)
        except (TransportError, TrustError) as error:
            log.warning("%s: %s; fetching all of it", subject, error)
            return None
        finally:
            self.store.drop_incoming(patch.entry.sha256)
        log.info("%s: %d bytes of %d", subject, patch.entry.length, entry.length)
        return manifest

    def _offered(self, sha256: str, here: list[str]) -> Patch | None:
        """Return the smallest patch that is offered from what is here."""
        topic, deadline = self.topics.delta(sha256), self.clock() + OFFER_S
        self.transport.subscribe(topic, qos=1)
        try:
            while (left_s := deadline - self.clock()) > 0:
                arrival = self.transport.receive(left_s)
                if isinstance(arrival, Message) and arrival.topic == topic:
                    offer = Offer.from_json(arrival.payload)
                    usable = [p for p in offer.patches if p.old in here]
                    return min(usable, key=lambda p: p.entry.length, default=None)
        except TransportError as error:
            log.warning("%s; fetching all of it", error)
        finally:
            self.transport.unsubscribe(topic)
        return None

    def _manifest(self, entry: BundleEntry, index: bytes) -> Manifest:
        """Return the new bundle's manifest, from its first chunks."""
        needed = 1
        while True:
            head = fetch_chunks(
                self.transport,
                self.topics,
                self.device,
                entry,
                index,
                self.store.incoming,
                range(needed),
                refused=self.refused,
                clock=self.clock,
            )
            chunks = -(-head_bytes(head) // entry.chunk_bytes)
            if chunks <= needed:
                return read_manifest(io.BytesIO(head))
            if chunks > entry.chunks:
                raise TrustError(f"{entry.flavor}: its manifest is longer than the bundle")
            needed = chunks
