# noqa: INP001 - a script, not a package
"""What memory a device takes to put a model together from the one before and a patch.

    python -m benchmarks.patching                     # models of 4 and of 32 MB

A process that has imported what a device's updater needs for it opens the store, which
holds the version before, and applies the patch, as the agent does: every member is checked
and fsynced. Resident memory before, and at its peak; a hundredth of the model changed.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from benchmarks.agent_memory import tiny_bundle
from edgekit import bundle, delta
from edgekit.manifest import MODEL_NAME, Manifest
from edgekit_agent.storage import bundles
from edgekit_agent.storage.store import Store

_CHANGED = 100  # one part of so many
_MB = 10**6


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory of the process that applies a patch, in MB."""

    idle_mb: float
    peak_mb: float


def measure(model_bytes: int) -> Memory:
    """Apply a patch between two models of so many random bytes in a new process."""
    chance = random.Random(model_bytes)  # noqa: S311 - repeatable, not secret
    old = chance.randbytes(model_bytes)
    changed = chance.randbytes(model_bytes // _CHANGED)
    new = old[: model_bytes // 2] + changed + old[model_bytes // 2 + len(changed) :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, after = _packed(old), _packed(new)
        store = Store(folder)
        store.prepare()
        (folder / "old").write_bytes(before[0])
        bundles.add(store, sha256(before[0]).hexdigest(), folder / "old")
        (folder / "patch").write_bytes(delta.make({MODEL_NAME: old}, {MODEL_NAME: new}))
        (folder / "manifest").write_bytes(after[1].to_json())
        digests = [sha256(packed).hexdigest() for packed, _ in (before, after)]
        child = [sys.executable, "-m", "benchmarks.patching", "--apply", name, *digests]
        told = subprocess.run(child, check=True, capture_output=True, text=True).stdout  # noqa: S603 - ourselves
    idle, peak = map(float, told.split())
    return Memory(idle_mb=idle, peak_mb=peak)


def _packed(model: bytes) -> tuple[bytes, Manifest]:
    manifest = replace(tiny_bundle()[1], files={MODEL_NAME: bundle.describe(model)})
    return bundle.pack(manifest, {MODEL_NAME: model}), manifest


def _apply(folder: Path, old: str, new: str) -> None:
    store = Store(folder)
    manifest = Manifest.from_json((folder / "manifest").read_bytes())
    idle = _status_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak counts from here
    bundles.add_patched(store, new, manifest, old, folder / "patch")
    sys.stdout.write(f"{idle} {_status_mb('VmHWM')}\n")


def _status_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1024


def main(arguments: Sequence[str]) -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.patching",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--megabytes", type=int, nargs="+", default=[4, 32], metavar="MB")
    parser.add_argument("--apply", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.apply:
        folder, old, new = options.apply
        _apply(Path(folder), old, new)
        return
    for megabytes in options.megabytes:
        found = measure(megabytes * _MB)
        sys.stdout.write(
            f"model of {megabytes} MB: idle {found.idle_mb:.1f} MB, while the patch is"
            f" applied +{found.peak_mb - found.idle_mb:.1f} MB\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
