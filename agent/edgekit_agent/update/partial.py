"""A download on disk that survives any kill: bytes first, then the bits that claim them.

Two files lie in the folder: `<sha256>.part` with the chunks at their places, and
`<sha256>.bits` with one bit for each chunk that is known to be on disk. Data are written
and fsynced before a bit is written: a bit never precedes its data. What was written
without its bit is found again by its digest, so that a killed process fetches no chunk
twice; for the same reason the bits need no fsync. What waits for the disk goes on aside,
while chunks come in: flash takes as long for an fsync as a network for a window. Knows no
network.
"""

import contextlib
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from edgekit.atomic import reason
from edgekit.bundle import chunk_digest
from edgekit.errors import StoreError, TrustError
from edgekit.statement import BundleEntry
from edgekit.wire import pack_bits, unpack_bits
from edgekit_agent.update.aside import Aside
from edgekit_agent.update.files import DiskFiles, Files
from edgekit_agent.update.whole import Whole

COMMIT_BYTES = 2 * 2**20  # between two fsyncs; a power cut may cost twice as much
_CRC_BYTES = 4


class Partial:
    """One bundle, as far as it is on disk. Every method may raise StoreError.

    After a StoreError what was verified before stays, and opening it again resumes.
    """

    def __init__(
        self,
        entry: BundleEntry,
        index: bytes,
        folder: Path,
        files: Files | None = None,
        *,
        commit_bytes: int = COMMIT_BYTES,
    ) -> None:
        self._entry = entry
        self._index = index
        self._folder = folder
        self._files = files or DiskFiles()
        self._part = folder / f"{entry.sha256}.part"
        self._bits = folder / f"{entry.sha256}.bits"
        self._commit_bytes = commit_bytes
        self._uncommitted_bytes = 0
        self._durable = frozenset[int]()  # survives a power cut, and its bits say so
        self._names_are_durable = False
        self._aside = Aside()
        self._whole = Whole(self._part, self._files)
        with self._store_errors():
            self._have = self._recover()

    @property
    def have(self) -> frozenset[int]:
        """The chunks that are on disk, each verified against the index."""
        return frozenset(self._have)

    @property
    def have_bytes(self) -> int:
        """How many bytes of the bundle are on disk."""
        return sum(self._entry.chunk_length(number) for number in self._have)

    def add(self, number: int, data: bytes) -> None:
        """Write a chunk that was verified; commit when enough has gathered."""
        with self._store_errors():
            self._files.write(self._part, number * self._entry.chunk_bytes, data)
        self._have.add(number)
        self._uncommitted_bytes += len(data)
        if self._uncommitted_bytes >= self._commit_bytes:
            self._commit_aside()

    def read(self, number: int) -> bytes:
        """Return a chunk that is on disk."""
        at, length = number * self._entry.chunk_bytes, self._entry.chunk_length(number)
        with self._store_errors():
            return self._files.read(self._part, at, length)

    def commit(self) -> None:
        """Make the chunks written so far survive a power cut, then write their bits."""
        with self._store_errors():
            self._aside.wait()
            if self._have != self._durable:
                self._make_durable(frozenset(self._have))
        self._uncommitted_bytes = 0

    def damaged(self) -> frozenset[int]:
        """Check the whole file; return the chunks that it turned out to lack.

        Call it when every chunk is here. None lacking: the file is the bundle. TrustError
        when every chunk is right and the whole is not, which the signers must explain.
        """
        with self._store_errors():
            self._aside.wait()
            self._whole.read_to(self._entry.length)
            if self._whole.hexdigest() == self._entry.sha256:
                return frozenset()
            self._whole = Whole(self._part, self._files)
            lost = frozenset(n for n in self._have if not self._on_disk(n))
            if not lost:
                self._remove()
                raise TrustError(
                    f"{self._entry.flavor}: its chunks match the signed index, but"
                    f" together they are not {self._entry.sha256}"
                )
            self._have -= lost
            self._make_durable(frozenset(self._have))
            self._files.sync(self._bits)  # they claim less than before
        return lost

    def finish(self) -> Path:
        """Move the checked file to its final name, in one step, and return it."""
        self.commit()
        final = final_path(self._folder, self._entry)
        with self._store_errors():
            self._files.replace(self._part, final)
            self._files.sync_folder(self._folder)
            self._files.remove(self._bits)
        return final

    def __enter__(self) -> Self:
        """Return itself, to be committed at the end of the block."""
        return self

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        """Commit what is here; the error that ends the block, if any, goes first."""
        if kind is None:
            self.commit()
        else:
            with contextlib.suppress(StoreError):
                self.commit()

    def _recover(self) -> set[int]:
        size = self._files.size(self._part)
        if size is None:
            return set()
        if size > self._entry.length:  # not ours: no chunk lies beyond the end
            self._remove()
            return set()
        fitting = [n for n in range(self._entry.chunks) if self._end(n) <= size]
        self._durable = self._read_bits().intersection(fitting)
        return {n for n in fitting if n in self._durable or self._on_disk(n)}

    def _read_bits(self) -> frozenset[int]:
        """Return what the bits claim; nothing when the file is damaged."""
        length = _CRC_BYTES + -(-self._entry.chunks // 8)
        if self._files.size(self._bits) != length:
            return frozenset()
        content = self._files.read(self._bits, 0, length)
        checksum, bits = content[:_CRC_BYTES], content[_CRC_BYTES:]
        if zlib.crc32(bits).to_bytes(_CRC_BYTES) != checksum:
            return frozenset()
        return frozenset(unpack_bits(bits))

    def _commit_aside(self) -> None:
        """Begin to commit what is here now; waits while an earlier one is under way."""
        have = frozenset(self._have)

        def work() -> None:
            self._make_durable(have)
            self._whole.read_to(self._beginning(have))

        with self._store_errors():
            self._aside.begin(work)
        self._uncommitted_bytes = 0

    def _make_durable(self, have: frozenset[int]) -> None:
        self._files.sync(self._part)
        self._write_bits(have)
        self._durable = have

    def _write_bits(self, have: frozenset[int]) -> None:
        bits = pack_bits(have, self._entry.chunks)
        self._files.write(self._bits, 0, zlib.crc32(bits).to_bytes(_CRC_BYTES) + bits)
        if not self._names_are_durable:
            self._files.sync_folder(self._folder)
            self._names_are_durable = True

    def _beginning(self, have: frozenset[int]) -> int:
        """Return how many bytes are here without a gap."""
        gaps = (n for n in range(self._entry.chunks) if n not in have)
        return min(
            next(gaps, self._entry.chunks) * self._entry.chunk_bytes, self._entry.length
        )

    def _on_disk(self, number: int) -> bool:
        data = self.read(number)
        return hashlib.sha256(data).digest() == chunk_digest(self._index, number)

    def _end(self, number: int) -> int:
        return number * self._entry.chunk_bytes + self._entry.chunk_length(number)

    def _remove(self) -> None:
        self._files.remove(self._bits)
        self._files.remove(self._part)

    @contextlib.contextmanager
    def _store_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{self._part}: {reason(error, self._part)}; what was verified stays"
            ) from error


def final_path(folder: Path, entry: BundleEntry) -> Path:
    """Return where the finished bundle lies."""
    return folder / f"{entry.sha256}.bundle"
