"""Read what is sent of a bundle from the folder of bundles: never one as a whole."""

import errno
from pathlib import Path

from edgekit.depot.schedule import Sending
from edgekit.statement import BundleEntry
from edgekit.wire import Chunk, Repair, mix


class Shelf:
    """The bundles in `folder`, and patches, each a file named by its digest."""

    def __init__(self, folder: Path, patches: Path) -> None:
        self._folder = folder
        self._patches = patches

    def path(self, entry: BundleEntry) -> Path:
        """Return where a bundle or a patch lies."""
        patch = self._patches / entry.sha256
        return patch if patch.is_file() else self._folder / entry.sha256

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
        path = self.path(entry)
        with path.open("rb") as file:
            file.seek(number * entry.chunk_bytes)
            data = file.read(entry.chunk_length(number))
        if len(data) != entry.chunk_length(number):
            raise OSError(errno.ENODATA, "the file is too short", str(path))
        return data
