"""The process that looks for models whose records are lost. Needs no broker.

A bundle that served here may serve again when it can still be verified from this disk: its
signed release and pointer by keys that are trusted now, its manifest by the release, its
files by the manifest. Nothing else may. docs/formats/device-state.md tells what is kept.
"""

import argparse
import hashlib
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from edgekit.errors import EdgekitError, StoreError, TrustError
from edgekit.manifest import MANIFEST_NAME
from edgekit.trust.evidence import Evidence, Trusted
from edgekit.trust.layout import TIME_FORMAT
from edgekit_agent import config
from edgekit_agent.config import Config
from edgekit_agent.rules.record import Phase, Record, Release, Trouble, TroubleKind
from edgekit_agent.storage import bundles, testimony
from edgekit_agent.storage.store import Store
from edgekit_agent.storage.testimony import Mark
from edgekit_agent.subscription import Subscription

log = logging.getLogger(__name__)


def recover(store: Store, settings: Config, wanted: Subscription, at: str) -> Record:
    """Return the record of what served of a model and can be verified.

    Where nothing can, it says why, and that nothing serves until a broker has told what is
    to run: `at` is when this was found, UTC.
    """
    found, unused = _looked(store, settings, wanted)
    for reason in unused:
        log.error("%s: stays unused: %s", wanted.model, reason)
    if not found:
        return Record(
            model=wanted.model,
            stage=wanted.stage,
            trouble=Trouble(
                kind=TroubleKind.NOT_NOW,
                error=TrustError.__name__,
                reason="the record of what served is lost, and nothing here can be"
                f" verified to serve on: {'; '.join(unused)}. Nothing serves until a"
                " broker has told what is to run",
                at=at,
            ),
        )
    current, previous, *_ = (*found, None)
    return Record(
        model=wanted.model,
        stage=wanted.stage,
        phase=Phase.SERVING,
        current=current,
        previous=previous,
    )


def _looked(
    store: Store, settings: Config, wanted: Subscription
) -> tuple[list[Release], list[str]]:
    """Return what can be verified, the last that served first; and why not the others."""
    found: list[Release] = []
    unused: list[str] = []
    try:
        trusted = Trusted.read(store.tuf, settings.root, fleet=settings.fleet)
    except TrustError as error:
        return found, [f"which keys are trusted cannot be told: {error}"]
    for mark in testimony.marks(store.bundles, wanted.model):
        try:
            found.append(verified(store, trusted, wanted, mark))
        except (TrustError, StoreError) as error:
            unused.append(f"bundle {mark.release.sha256[:12]}: {error}")
    return found, unused


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
        raise TrustError("signed for are others, not this one")
    if not entry.manifest_sha256:
        raise TrustError(
            "its release does not tell its manifest's digest, it was made by an earlier"
            " edgekit"
        )
    bundles.read(store, sha256)
    if _digest(folder / MANIFEST_NAME) != entry.manifest_sha256:
        raise TrustError("its manifest is not the signed one")
    return Release(
        version=vouched.pointer.version,
        flavor=entry.flavor,
        sha256=sha256,
        rollout=vouched.pointer.rollout,
        since=mark.release.since,
    )


def main() -> None:
    """Write the record of each model that is named: what was found, or why nothing."""
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
            record = recover(store, settings, settings.subscription(model), _now())
            if record.current is not None:
                log.info("%s: found again, by what was signed for it", model)
            elif record.trouble is not None:
                log.error("%s: %s", model, record.trouble.reason)
            if record.current is not None or not store.unreadable(model):
                store.save(record, lost=record.current is None)
        except EdgekitError as error:
            log.error("%s: %s", model, error)  # noqa: TRY400 - no traceback for users


def _now() -> str:
    return datetime.now(UTC).strftime(TIME_FORMAT)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    main()
