"""Conversions that are done: one folder for each version, boards and options.

Knows no converter and no registry. A folder counts once its note is written, which is the
last thing that happens: a conversion that was cut short is thrown away and done again.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from edgekit import __version__, atomic
from edgekit.board import Board
from edgekit.conversion import AUTO, DEFAULT_MAX_DROP, Conversion
from edgekit.document import Reader, canonical_json
from edgekit.errors import ConfigError, StoreError
from edgekit.registry import ModelVersion
from edgekit.statement import slug

NOTE_NAME = "chosen.json"
_KEY_CHARACTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a conversion is asked for, besides the version. See ConversionRequest."""

    boards: tuple[Board, ...]
    samples: Path | None = None
    target: str | None = None
    max_drop: float = DEFAULT_MAX_DROP
    metric: str = AUTO
    score: str = AUTO
    group: str | None = None
    proven_only: bool = False
    trust_pickle: bool = False
    profile: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A flavor to release: its folder, and the boards it is for; none: the spare one."""

    flavor: str
    folder: Path
    boards: tuple[str, ...]


def folder_of(cache: Path, version: ModelVersion, options: Options) -> Path:
    """Return where this conversion belongs; other inputs give another folder."""
    inputs = {
        "run_id": version.run_id,
        "boards": [asdict(board) for board in options.boards],
        "samples": _digest(options.samples),
        "target": options.target,
        "max_drop": options.max_drop,
        "metric": options.metric,
        "score": options.score,
        "group": options.group,
        "proven_only": options.proven_only,
        "profile": options.profile,
        "edgekit": __version__,
    }
    key = sha256(canonical_json(inputs)).hexdigest()[:_KEY_CHARACTERS]
    return cache / slug(version.name) / slug(version.version) / key


def find(folder: Path) -> tuple[Chosen, ...]:
    """Return what was chosen in a conversion's folder, nothing when none ended there."""
    note = folder / NOTE_NAME
    if not note.is_file():
        return ()
    reader = Reader.from_json(note.read_bytes(), subject=str(note), error=StoreError)
    return tuple(
        Chosen(
            flavor=entry.text("flavor"),
            folder=folder / entry.text("folder"),
            boards=entry.texts("boards"),
        )
        for entry in reader.children("chosen")
    )


def clear(folder: Path) -> None:
    """Throw away what a conversion that was cut short has left."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}") from error


def keep(folder: Path, conversion: Conversion) -> tuple[Chosen, ...]:
    """Note which flavors were chosen for which boards; the conversion now counts."""
    chosen = tuple(_chosen(conversion))
    note = [
        {
            "flavor": one.flavor,
            "folder": one.folder.relative_to(folder).as_posix(),
            "boards": list(one.boards),
        }
        for one in chosen
    ]
    atomic.write_bytes(folder / NOTE_NAME, canonical_json({"chosen": note}))
    return chosen


def _chosen(conversion: Conversion) -> Iterator[Chosen]:
    for candidate in conversion.candidates:
        boards = sorted(b for b, f in conversion.choices.items() if f == candidate.flavor)
        if boards and candidate.folder is not None:
            yield Chosen(
                flavor=candidate.flavor, folder=candidate.folder, boards=tuple(boards)
            )
    yield from _spare(conversion)


def _spare(conversion: Conversion) -> Iterator[Chosen]:
    """Yield what a device takes when its board's flavor does not fit or fails there.

    Of the flavors that are proven as good, fit some board and were not chosen: the one that
    takes the least memory.
    """
    chosen = set(conversion.choices.values())
    left = [
        (one.peak_rss_bytes, one.model_bytes, one.flavor, one.folder)
        for one in conversion.candidates
        if one.sure and one.boards and one.flavor not in chosen and one.folder
    ]
    for *_, flavor, folder in sorted(left)[:1]:
        yield Chosen(flavor=flavor, folder=folder, boards=())


def _digest(samples: Path | None) -> str:
    if samples is None:
        return ""
    try:
        with samples.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"samples {samples}: {error.strerror}") from error
