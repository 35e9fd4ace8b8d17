"""Unpack a fetched bundle into the store, and read it back only if no bit has changed.

Knows the bundle format and the store's layout, no network and no onnxruntime. A bundle's
folder appears whole or not at all. Members of equal bytes in several bundles are one file
with several names, where the disk has hard links: it goes when the last bundle goes.
"""

import contextlib
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, cast

from edgekit import atomic, bundle, delta
from edgekit.document import Reader, canonical_json
from edgekit.errors import StoreError, TrustError
from edgekit.manifest import MANIFEST_NAME, Manifest
from edgekit_agent.storage.store import Store

_SEAL_NAME = ".seal.json"  # the manifest's own digest: no member may have this name
_BLOCK_BYTES = 256 * 1024


def add(store: Store, sha256: str, file: Path) -> Manifest:
    """Unpack the bundle in `file` into the store and return its manifest.

    Raises TrustError when the file is not the bundle `sha256`, or is a malformed one;
    StoreError when the disk refuses. Then nothing of it is in the store.
    """
    return _appear(store, sha256, lambda folder: _unpack(file, folder, sha256))


def add_patched(
    store: Store, sha256: str, manifest: Manifest, old: str, file: Path
) -> Manifest:
    """Put a bundle together from the stored bundle `old` and the patch in `file`.

    `manifest` is the new bundle's and trusted; what does not match it is a TrustError.
    Raises StoreError when the disk refuses. Then nothing of it is in the store.
    """
    before = read(store, old)

    def build(folder: Path) -> Manifest:
        _patch(store.bundle(old), before, manifest, file, folder)
        return manifest

    return _appear(store, sha256, build)


def _appear(store: Store, sha256: str, build: Callable[[Path], Manifest]) -> Manifest:
    """Let a bundle's folder appear whole, or not at all."""
    target, beside = store.bundle(sha256), store.unfinished(sha256)
    with _disk(target):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        try:
            manifest = build(beside)
            _share(store, manifest, beside)
            _seal(manifest, beside)
            shutil.rmtree(target, ignore_errors=True)
            beside.rename(target)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        atomic.sync_folder(store.bundles)
    return manifest


def read(store: Store, sha256: str) -> Manifest:
    """Return a stored bundle's manifest after checking every file against it.

    Raises StoreError when the bundle is not there, or when the disk changed anything.
    """
    folder = store.bundle(sha256)
    short = f"bundle {sha256[:12]}"
    with _disk(folder):
        if not folder.is_dir():
            raise StoreError(f"{short}: it is not in the store")
        seal = Reader.from_json(
            (folder / _SEAL_NAME).read_bytes(), subject=short, error=StoreError
        )
        text = (folder / MANIFEST_NAME).read_bytes()
        if hashlib.sha256(text).hexdigest() != seal.sha256("manifest"):
            raise StoreError(f"{short}: {MANIFEST_NAME} changed on the disk")
        manifest = Manifest.from_json(text)
        for name, member in manifest.files.items():
            if _digest(folder / name) != member.sha256:
                raise StoreError(f"{short}: {name} changed on the disk")
    return manifest


def holds(store: Store, sha256: str) -> bool:
    """Whether a bundle is in the store, unchanged."""
    try:
        read(store, sha256)
    except (StoreError, TrustError):
        return False
    return True


def _unpack(file: Path, folder: Path, sha256: str) -> Manifest:
    opened: list[BinaryIO] = []

    def member(name: str) -> BinaryIO:
        _finish(opened)
        opened.append((folder / name).open("xb"))
        return opened[-1]

    with file.open("rb") as stream:
        hashing = _Hashing(stream)
        try:
            manifest = bundle.unpack(cast("BinaryIO", hashing), member)
        finally:
            _finish(opened)
    if hashing.hexdigest() != sha256:
        raise TrustError(
            f"bundle: its digest is {hashing.hexdigest()[:12]}, {sha256[:12]} is expected"
        )
    return manifest


def _patch(
    held: Path, before: Manifest, manifest: Manifest, file: Path, folder: Path
) -> None:
    """Write every member of `manifest`: what is unchanged from `held`, or patched."""
    changed = delta.changed(before.files, manifest.files)
    for name in sorted(set(manifest.files) - set(changed)):
        _link_or_copy(held / name, folder / name)

    def slice_of(name: str, offset: int, length: int) -> bytes:
        with (held / name).open("rb") as source:
            source.seek(offset)
            return source.read(length)

    for name in changed:
        (folder / name).touch(exist_ok=False)
    with file.open("rb") as patch:
        blocks = delta.apply(patch, before.files, manifest.files, slice_of)
        for name, grouped in itertools.groupby(blocks, key=itemgetter(0)):
            with (folder / name).open("wb") as target:
                for _, block in grouped:
                    target.write(block)
                _finish([target])
    for name, member in manifest.files.items():
        if _digest(folder / name) != member.sha256:
            raise TrustError(f"patch: {name} does not match the manifest")


def _link_or_copy(held: Path, path: Path) -> None:
    try:
        path.hardlink_to(held)
    except OSError:  # no such links on this disk, or too many
        with held.open("rb") as source, path.open("xb") as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)
            _finish([target])


def _share(store: Store, manifest: Manifest, folder: Path) -> None:
    """Put a link in place of each member of `folder` that another bundle has, too.

    What it has is looked at first: damaged bytes are not shared. Where links cannot be
    made the copy stays.
    """
    known = _members(store)
    for name, member in manifest.files.items():
        held = known.get(member.sha256)
        with contextlib.suppress(OSError):
            path = folder / name
            if held is None or held.samefile(path) or _digest(held) != member.sha256:
                continue
            beside = path.with_name(f".{name}")
            beside.hardlink_to(held)
            beside.replace(path)


def _members(store: Store) -> dict[str, Path]:
    """Return a file for every digest that the manifests of stored bundles name."""
    found: dict[str, Path] = {}
    for path in sorted(store.bundles.glob(f"*/{MANIFEST_NAME}")):
        with contextlib.suppress(OSError, TrustError):  # damaged: nothing is shared with it
            manifest = Manifest.from_json(path.read_bytes())
            for name, member in manifest.files.items():
                found[member.sha256] = path.with_name(name)
    return found


def _seal(manifest: Manifest, folder: Path) -> None:
    text = manifest.to_json()
    seal = {"manifest": hashlib.sha256(text).hexdigest()}
    atomic.write_bytes(folder / MANIFEST_NAME, text)
    atomic.write_bytes(folder / _SEAL_NAME, canonical_json(seal))


def _finish(opened: list[BinaryIO]) -> None:
    while opened:
        with opened.pop() as file:
            file.flush()
            os.fsync(file.fileno())


class _Hashing:
    """A stream that digests what is read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {atomic.reason(error, path)}") from error
