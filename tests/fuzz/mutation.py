"""Damage that libFuzzer asks for: of a document's values, where the bytes are a document.

Bytes that are flipped seldom leave a document that is one. What is parsed is damaged as
hypothesis would; the rest is libFuzzer's own. Knows no surface and no atheris.
"""

import json
from collections.abc import Callable, Sequence
from random import Random

from tests.core.examples import places
from tests.fuzz.damage import (
    JSON_TOKENS,
    TOML_LINES,
    TOML_TOKENS,
    doubled,
    inserted,
    left_out,
    moved,
    put,
    renamed,
    valued,
)
from tests.fuzz.surface import Form

_LONG_CHARS = 300
Mutate = Callable[[bytes, int], bytes]


def mutator(form: Form, mutate: Mutate) -> Callable[[bytes, int, int], bytes]:
    """Return a custom mutator: half of all are of values, the others by `mutate`."""

    def custom(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311 - nothing secret
        if form is not Form.BYTES and random.random() < 0.5:
            made = restructured(data, form, random)
            if made is not None and len(made) <= max_size:
                return made
        return mutate(data, max_size)

    return custom


def restructured(data: bytes, form: Form, random: Random) -> bytes | None:
    """Return the document with a value damaged, None for bytes that are no document."""
    if form is Form.TOML:
        return _toml(data, random)
    try:
        document = json.loads(data)
        paths = sorted(places(document), key=str)
        return _json(document, paths, random) if paths else None
    except (ValueError, RecursionError):
        return None


def _json(document: object, paths: list[tuple[object, ...]], random: Random) -> bytes:
    path = random.choice(paths)
    match random.randrange(6):
        case 0:
            return moved(document, path, random.choice(paths))
        case 1:
            return left_out(document, path)
        case 2:
            return renamed(document, path)
        case 3:
            return doubled(document, path)
        case _:
            return put(document, path, _word(JSON_TOKENS, random))


def _toml(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    match random.randrange(4):
        case 0:
            return inserted(lines, at, _word(TOML_LINES, random))
        case 1:
            return b"\n".join(lines[:at] + lines[at + 1 :])
        case 2:
            return b"\n".join(lines[: at + 1] + lines[at:])
        case _:
            return valued(lines, at, _word(TOML_TOKENS, random))


def _word(words: Sequence[str], random: Random) -> str:
    """Choose one; a long one once in twenty, as all that comes of it takes long."""
    long = random.random() < 1 / 20
    return random.choice([one for one in words if long == (len(one) > _LONG_CHARS)])
