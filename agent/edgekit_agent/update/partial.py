"""A download on disk that survives any kill: bytes first, then the bits that claim them.

Two files lie in the folder: `<sha256>.part` with the chunks at their places, and
`<sha256>.bits` with one bit for each chunk that is known to be on disk. Data are written
and fsynced before a bit is: a bit never precedes its data. What was written without its
bit is found again by its digest, so that a killed process fetches no chunk twice. Knows
no network.
"""

import contextlib
import errno
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from edgekit.atomic import reason, sync_folder
from edgekit.bundle import chunk_digest
from edgekit.errors import StoreError, TrustError
from edgekit.statement import BundleEntry
from edgekit.wire import pack_bits, unpack_bits

COMMIT_BYTES = 2 * 2**20  # data at risk of a power cut between two fsyncs
_BLOCK_BYTES = 2**20
_CRC_BYTES = 4


class Files(Protocol):
    """The few operations on files that a download needs, each as the system has it."""

    def size(self, path: Path) -> int | None:
        """Return the bytes in a file, None when there is none."""

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """Return up to `length` bytes."""

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Write at an offset; make the file if there is none."""

    def sync(self, path: Path) -> None:
        """Make what was written to a file survive a power cut."""

    def sync_folder(self, folder: Path) -> None:
        """Make new names and renames survive a power cut."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename, replacing the target."""

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one."""


class DiskFiles:
    """Files on the real disk."""

    def size(self, path: Path) -> int | None:
        """Return the bytes in a file, None when there is none."""
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """Return up to `length` bytes."""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Write at an offset; make the file if there is none."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            written = os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, path: Path) -> None:
        """Make what was written to a file survive a power cut."""
        with path.open("rb") as file:
            os.fsync(file.fileno())

    def sync_folder(self, folder: Path) -> None:
        """Make new names and renames survive a power cut."""
        sync_folder(folder)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, replacing the target."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one."""
        path.unlink(missing_ok=True)


class Partial:
    """One bundle, as far as it is on disk. Every method may raise StoreError.

    After a StoreError what was verified before stays, and opening it again resumes.
    """

    def __init__(
        self, entry: BundleEntry, index: bytes, folder: Path, files: Files | None = None
    ) -> None:
        self._entry = entry
        self._index = index
        self._folder = folder
        self._files = files or DiskFiles()
        self._part = folder / f"{entry.sha256}.part"
        self._bits = folder / f"{entry.sha256}.bits"
        self._uncommitted: set[int] = set()
        self._names_are_durable = False
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
        self._uncommitted.add(number)
        if len(self._uncommitted) * self._entry.chunk_bytes >= COMMIT_BYTES:
            self.commit()

    def read(self, number: int) -> bytes:
        """Return a chunk that is on disk."""
        at, length = number * self._entry.chunk_bytes, self._entry.chunk_length(number)
        with self._store_errors():
            return self._files.read(self._part, at, length)

    def commit(self) -> None:
        """Make the chunks written so far survive a power cut, then their bits."""
        if self._uncommitted:
            with self._store_errors():
                self._files.sync(self._part)
                self._write_bits()
            self._uncommitted.clear()

    def damaged(self) -> frozenset[int]:
        """Check the whole file; return the chunks that it turned out to lack.

        Call it when every chunk is here. None lacking: the file is the bundle. TrustError
        when every chunk is right and the whole is not, which the signers must explain.
        """
        with self._store_errors():
            if self._whole_digest() == self._entry.sha256:
                return frozenset()
            lost = frozenset(n for n in self._have if not self._on_disk(n))
            if not lost:
                self._remove()
                raise TrustError(
                    f"{self._entry.flavor}: its chunks match the signed index, but"
                    f" together they are not {self._entry.sha256}"
                )
            self._have -= lost
            self._write_bits()
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
        claimed = self._read_bits()
        return {
            number
            for number in range(self._entry.chunks)
            if self._end(number) <= size and (number in claimed or self._on_disk(number))
        }

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

    def _write_bits(self) -> None:
        bits = pack_bits(self._have, self._entry.chunks)
        self._files.write(self._bits, 0, zlib.crc32(bits).to_bytes(_CRC_BYTES) + bits)
        self._files.sync(self._bits)
        if not self._names_are_durable:
            self._files.sync_folder(self._folder)
            self._names_are_durable = True

    def _on_disk(self, number: int) -> bool:
        data = self.read(number)
        return hashlib.sha256(data).digest() == chunk_digest(self._index, number)

    def _end(self, number: int) -> int:
        return number * self._entry.chunk_bytes + self._entry.chunk_length(number)

    def _whole_digest(self) -> str:
        return file_digest(self._part, self._files)

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


def file_digest(path: Path, files: Files | None = None) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    files = files or DiskFiles()
    digest, at = hashlib.sha256(), 0
    while block := files.read(path, at, _BLOCK_BYTES):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()
