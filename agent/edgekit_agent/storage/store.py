"""The agent's folder: what it remembers of each model, and which bundles it holds.

Knows names and files, not what is in a bundle (edgekit_agent.storage.bundles does).
Whatever it changes, a power cut leaves the old or the new, whole.
docs/formats/device-state.md draws the folder.

    tuf/                     trusted metadata, edgekit.trust's
    incoming/                bundles on their way, edgekit_agent.update.partial's
    bundles/<sha256>/        unpacked bundles, each renamed here when it was whole
    models/<slug>/state.json one Record each; state.copy beside it is its second copy
    telemetry/               windows until the fleet has them, edgekit_agent.storage.spool's
    starts                   how often the agent started, for its boot id

A file system that has become read-only is no reason not to serve: what only reads, and the
lock, which is on the folder itself, work there too.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

from edgekit import atomic
from edgekit.errors import StoreError
from edgekit.statement import slug
from edgekit_agent.rules.record import Record
from edgekit_agent.storage import sealed, testimony
from edgekit_agent.subscription import Subscription

log = logging.getLogger(__name__)

_UNFINISHED = ".unpacking-"
_DOOMED = ".deleting-"
_GLANCE_S = 0.05
_KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BOOT_ID_CHARS = 8


class Store:
    """The state folder of one agent. Any process may read it; one at a time changes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # --- the layout -------------------------------------------------------------------

    @property
    def tuf(self) -> Path:
        """Trusted metadata."""
        return self._folder / "tuf"

    @property
    def incoming(self) -> Path:
        """Bundles on their way."""
        return self._folder / "incoming"

    @property
    def bundles(self) -> Path:
        """Unpacked bundles, a folder each, named by their digest."""
        return self._folder / "bundles"

    def bundle(self, sha256: str) -> Path:
        """Return the folder of one unpacked bundle, whether it exists or not."""
        return self.bundles / sha256

    @property
    def telemetry(self) -> Path:
        """Telemetry windows that the fleet does not have yet."""
        return self._folder / "telemetry"

    def unfinished(self, sha256: str) -> Path:
        """Return where a bundle is unpacked before it is renamed."""
        return self.bundles / f"{_UNFINISHED}{sha256}"

    def prepare(self) -> None:
        """Make the folders; StoreError when that cannot be."""
        with _translated(self._folder):
            for folder in (self.tuf, self.incoming, self.bundles, self._models):
                folder.mkdir(parents=True, exist_ok=True)

    # --- one agent at a time ----------------------------------------------------------

    def lock(self, *, wait_s: float) -> int:
        """Return a file descriptor that holds the folder, to be passed on to children.

        A killed agent's children hold it until they have noticed: hence the wait. Raises
        StoreError when another agent keeps it.
        """
        with _translated(self._folder):
            held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        deadline_s = time.monotonic() + wait_s
        while not _locked(held):
            if time.monotonic() >= deadline_s:
                os.close(held)
                raise StoreError(
                    f"{self._folder}: another agent uses this folder; stop it, or give"
                    " this one its own state_dir"
                )
            time.sleep(_GLANCE_S)
        return held

    def begin(self) -> str:
        """Count this start and return its id, never used before on this device.

        The first part is the kernel's boot id, the second the number of the start, or by
        chance where the disk cannot count. A folder that does not know of any start, as it
        is new or was wiped, counts from the time of day in seconds: so the numbers of a
        device go up though it forgot them, unless its clock was set back as well. What a
        kill left half written is deleted.
        """
        atomic.sweep(self._folder)
        path = self._folder / "starts"
        try:
            starts = str(int(path.read_text("ascii")) + 1)
        except (OSError, ValueError):
            starts = str(max(1, int(time.time())))
        try:
            atomic.write_bytes(path, f"{starts}\n".encode())
        except StoreError as error:
            log.warning("%s; this start is not counted", error)
            starts = f"x{os.urandom(4).hex()}"
        return f"{_kernel_boot_id()}-{starts}"

    # --- records ----------------------------------------------------------------------

    def load(self, subscription: Subscription) -> Record:
        """Return what is remembered of a model: a fresh record when there is nothing.

        A record that the disk damaged is put aside, and its copy is read. When both are
        damaged they are forgotten, one that cannot be read is left: the bundles stay, so
        the next check finds them without a download.
        """
        path, trouble = self._record(subscription.model), ""
        for place in (path, sealed.copy_of(path)):
            try:
                content = sealed.unseal(place.read_bytes(), subject=str(place))
                record = Record.from_json(content, subject=str(place))
            except FileNotFoundError:
                continue
            except OSError as error:
                trouble = f"{place}: cannot be read: {error.strerror}"
            except StoreError as error:
                trouble = str(error)
                if place == path:
                    sealed.put_aside(place)
            else:
                if trouble:
                    log.error("%s; its copy is read", trouble)
                return record
        if trouble:
            log.error("%s; starting afresh", trouble)
        return Record(model=subscription.model, stage=subscription.stage)

    def forgot(self, model: str) -> bool:
        """Whether more was known once of a model whose record needs no bundle now."""
        aside = sealed.damaged(self._record(model))
        served = testimony.marks(self.bundles, model)
        return aside.exists() or self.unreadable(model) or bool(served)

    def unreadable(self, model: str) -> bool:
        """Whether a record is there that the disk does not give."""
        try:
            self._record(model).read_bytes()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def save(self, record: Record, *, lost: bool = False) -> None:
        """Persist a record; StoreError when the disk refuses.

        `lost`: it does not tell what served, so what served stays marked for a later look.
        """
        path = self._record(record.model)
        with _translated(path):
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True)
                atomic.sync_folder(self._models)
        sealed.write(path, record.to_json())
        if not lost:
            testimony.note(self.bundles, record)

    # --- room -------------------------------------------------------------------------

    def discard(self, sha256: str) -> None:
        """Delete one bundle."""
        _remove(self.bundle(sha256))

    def drop_incoming(self, sha256: str) -> None:
        """Delete what arrived of a bundle that is unpacked; what cannot be is left."""
        for file in _entries(self.incoming):
            if file.name.split(".", 1)[0] == sha256:
                _remove(file)

    def collect(self, needed: Collection[str]) -> None:
        """Delete unpacked and partial bundles whose digests nobody needs."""
        for entry in _entries(self.bundles):
            digest = entry.name.removeprefix(_UNFINISHED)
            if digest not in needed:
                log.info("deleting %s: no model needs it", entry.name[:20])
                _remove(entry)
        for entry in _entries(self.incoming):
            if entry.name.split(".", 1)[0] not in needed:
                _remove(entry)

    def used_bytes(self) -> int:
        """Return the bytes of all bundles, partial ones included.

        What bundles share on the disk counts once.
        """
        return _size(chain(self.bundles.rglob("*"), self.incoming.rglob("*")))

    def held_bytes(self, *digests: str) -> int:
        """Return the bytes of some bundles that are here, packed and unpacked.

        What they share on the disk counts once.
        """
        packed = (self.incoming.glob(f"{digest}*") for digest in digests)
        unpacked = (self.bundle(digest).rglob("*") for digest in digests)
        return _size(chain.from_iterable((*packed, *unpacked)))

    def free_bytes(self) -> int:
        """Return the bytes the disk still has for this process."""
        with _translated(self._folder):
            found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize

    @property
    def _models(self) -> Path:
        return self._folder / "models"

    def _record(self, model: str) -> Path:
        return self._models / slug(model) / "state.json"


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kernel_boot_id() -> str:
    try:
        return _KERNEL_BOOT_ID.read_text("ascii")[:_BOOT_ID_CHARS]
    except OSError:
        return "unknown"


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {atomic.reason(error, path)}") from error


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(files: Iterable[Path]) -> int:
    """Return what files take on the disk; one with several names counts once."""
    taken: dict[tuple[int, int], int] = {}
    for file in files:
        with contextlib.suppress(OSError):  # deleted while we looked
            found = file.stat()
            if stat.S_ISREG(found.st_mode):
                taken[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(taken.values())


def _remove(path: Path) -> None:
    """Delete a file or a folder; a folder loses its name first, so none is ever half."""
    try:
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        doomed = path
        if not path.name.startswith(_DOOMED):
            doomed = path.with_name(f"{_DOOMED}{path.name}")
            path.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        log.warning("%s: cannot be deleted: %s", path, error.strerror)
