"""Read what is sent of a bundle from the folder of bundles: never one as a whole."""

import errno
import os
from pathlib import Path

from edgekit.depot.schedule import Sending
from edgekit.statement import BundleEntry
from edgekit.wire import Chunk, Repair, mix


class Shelf:
    """The bundles in `folder`, and patches, each a file named by its digest."""

    def __init__(self, folder: Path, patches: Path) -> None:
        self._folder = folder
        self._patches = patches

    def path(self, sha256: str) -> Path:
        """Return where a bundle or a patch lies."""
        patch = self._patches / sha256
        return patch if patch.is_file() else self._folder / sha256

    def message(self, entry: BundleEntry, epoch: int, sending: Sending) -> Chunk | Repair:
        """Return what goes out for a sending; OSError when it cannot be read."""
        numbers, sequence = sending.numbers, sending.sequence
        if len(numbers) == 1:
            data = self._read(entry, numbers[0])
            return Chunk(epoch=epoch, sequence=sequence, number=numbers[0], data=data)
        length = entry.chunk_length(numbers[0])  # only the last may be shorter
        data = mix((self._read(entry, number) for number in numbers), length)
        return Repair(epoch=epoch, sequence=sequence, numbers=numbers, data=data)

    def _read(self, entry: BundleEntry, number: int) -> bytes:
        descriptor = self._open(entry.sha256)
        try:
            length = entry.chunk_length(number)
            data = os.pread(descriptor, length, number * entry.chunk_bytes)
        finally:
            os.close(descriptor)
        if len(data) != length:
            path = str(self.path(entry.sha256))
            raise OSError(errno.ENODATA, "the file is too short", path)
        return data

    def _open(self, sha256: str) -> int:
        # For each chunk anew, without a look first: it is most of what reading one costs.
        try:
            return os.open(f"{self._folder}/{sha256}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return os.open(self._patches / sha256, os.O_RDONLY | os.O_CLOEXEC)
