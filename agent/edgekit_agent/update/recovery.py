"""The process that looks for models whose records are lost. Needs no broker.

A bundle that served here may serve again when it can still be verified from this disk: its
signed release and pointer by keys that are trusted now, its manifest by the release, its
files by the manifest. Nothing else may. docs/formats/device-state.md tells what is kept.
"""

import argparse
import hashlib
import logging
import sys
from pathlib import Path

from edgekit.errors import EdgekitError, StoreError, TrustError
from edgekit.manifest import MANIFEST_NAME
from edgekit.trust.evidence import Evidence, Trusted
from edgekit_agent import config
from edgekit_agent.config import Config
from edgekit_agent.rules.record import Phase, Record, Release
from edgekit_agent.storage import bundles, testimony
from edgekit_agent.storage.store import Store
from edgekit_agent.storage.testimony import Mark
from edgekit_agent.subscription import Subscription

log = logging.getLogger(__name__)


def recover(store: Store, settings: Config, wanted: Subscription) -> Record | None:
    """Return the record of what served of a model and can be verified; None: nothing.

    Raises TrustError when this disk does not even tell which keys are trusted.
    """
    trusted = Trusted.read(store.tuf, settings.root, fleet=settings.fleet)
    found: list[Release] = []
    for mark in testimony.marks(store.bundles, wanted.model):
        try:
            found.append(verified(store, trusted, wanted, mark))
        except (TrustError, StoreError) as error:
            digest = mark.release.sha256
            log.error("%s: %s stays unused: %s", wanted.model, digest[:12], error)  # noqa: TRY400 - no traceback for users
    if not found:
        return None
    current, previous, *_ = (*found, None)
    return Record(
        model=wanted.model,
        stage=wanted.stage,
        phase=Phase.SERVING,
        current=current,
        previous=previous,
    )


def verified(store: Store, trusted: Trusted, wanted: Subscription, mark: Mark) -> Release:
    """Return what a marked bundle is by what was signed for it.

    Raises TrustError when that does not vouch for it, StoreError when the disk changed it.
    """
    sha256 = mark.release.sha256
    folder = store.bundle(sha256)
    evidence = Evidence.from_json(testimony.signed(folder))
    vouched = trusted.vouched(evidence, stage=wanted.stage, model=wanted.model)
    entry = next((one for one in vouched.entries if one.sha256 == sha256), None)
    if entry is None:
        raise TrustError(f"bundle {sha256[:12]}: signed for are others, not this one")
    if not entry.manifest_sha256:
        raise TrustError(
            f"bundle {sha256[:12]}: its release does not tell its manifest's digest, it"
            " was made by an earlier edgekit"
        )
    bundles.read(store, sha256)
    if _digest(folder / MANIFEST_NAME) != entry.manifest_sha256:
        raise TrustError(f"bundle {sha256[:12]}: its manifest is not the signed one")
    return Release(
        version=vouched.pointer.version,
        flavor=entry.flavor,
        sha256=sha256,
        rollout=vouched.pointer.rollout,
        since=mark.release.since,
    )


def main() -> None:
    """Write the record of each model that is named, where something of it is found."""
    parser = argparse.ArgumentParser(
        prog="edgekit_agent.update.recovery", description=__doc__
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="recovery: %(message)s"
    )
    settings = config.load(arguments.config)
    store = Store(settings.state_dir)
    for model in arguments.models:
        try:
            record = recover(store, settings, settings.subscription(model))
            if record is not None:
                store.save(record)
                log.info("%s: found again, by what was signed for it", model)
        except EdgekitError as error:
            log.error("%s: %s", model, error)  # noqa: TRY400 - no traceback for users


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    main()
