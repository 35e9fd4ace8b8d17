"""The statements that a published state consists of, and those that may follow them.

Verifies each against its role's metadata; knows no keys and writes nothing.
"""

from collections.abc import Iterator

from tuf.api.exceptions import LengthOrHashMismatchError

from edgekit.errors import ConfigError, TrustError
from edgekit.statement import MODELS_ROLE, ReleaseRecord, StagePointer
from edgekit.trust.generation import Generation
from edgekit.trust.layout import statement_file
from edgekit.trust.payload import TargetFile
from edgekit.trust.shelf import Shelf


def records(shelf: Shelf, current: Generation) -> Iterator[ReleaseRecord]:
    """Yield every release record that the models role vouches for."""
    for target in current.roles[MODELS_ROLE].signed.targets.values():
        yield ReleaseRecord.from_json(_verified(shelf, target))


def pointers(shelf: Shelf, current: Generation) -> Iterator[StagePointer]:
    """Yield what every stage runs of every model."""
    for role in current.delegations:
        if role != MODELS_ROLE:
            for target in current.roles[role].signed.targets.values():
                yield StagePointer.from_json(_verified(shelf, target))


def refuse_backwards(pointer: StagePointer, last: StagePointer | None) -> None:
    """Raise ConfigError when a pointer would not follow the last one."""
    if last is not None and last != pointer and pointer.rollout <= last.rollout:
        raise ConfigError(
            f"{pointer.model} in stage {pointer.stage}: rollout {pointer.rollout}, the"
            f" last one was {last.rollout}; a higher number is expected"
        )


def refuse_dangling(pointer: StagePointer, record: ReleaseRecord | None) -> None:
    """Raise ConfigError when a pointer names what the models role does not vouch for."""
    made = {(e.flavor, e.sha256) for e in record.bundles} if record else set()
    strangers = set(pointer.bundles.items()) - made
    if record is None or strangers or not pointer.bundles:
        raise ConfigError(
            f"{pointer.model} in stage {pointer.stage}: points at version"
            f" {pointer.version}, of which the models role vouches for"
            f" {len(made)} bundles; those it names are expected among them"
        )


def _verified(shelf: Shelf, target: TargetFile) -> bytes:
    name = statement_file(target.path, target.hashes["sha256"])
    data = shelf.read(name)
    try:
        target.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise TrustError(f"{name}: not the bytes that were signed for") from error
    return data
