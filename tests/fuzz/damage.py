"""Damage what is right: the bytes, the JSON or the TOML of a seed. Knows no surface."""

import json
import re
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.core.examples import places, replaced
from tests.fuzz.surface import Form

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**64 - 1)
_DEEP = 60
_DEEPER = 5_000  # beyond every recursion limit
# Values as they stand in JSON; json.dumps would not write most of them.
JSON_TOKENS = (
    *("null", "true", "false", "0", "-1", "-0.0", "0.5", "1e400", "-1e400", "1e-400"),
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "9007199254740993",
        str(2**63),
        str(2**64),
        "9" * 5_000,
    ),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\u202e"', '"\\u001b[2J"', '"../../x"'),
    *(
        '"' + "x" * 70_000 + '"',
        '"' + "é" * 300 + '"',
        '"' + "0" * 64 + '"',
        '"str"',
        '"O"',
    ),
    *(
        '"(1000000,1000000)f4"',
        '"f4,f4"',
        '"datetime64[ns]"',
        '"float128"',
        '"U9"',
        '"<V9"',
    ),
    *("[]", "{}", "[null]", "[[]]", '{"": null}', '{"a":1,"a":2}', "[1e400]", "[-1]"),
    *("[10000000,10000000]", "[" + "1," * 200 + "1]", "[" + "0," * 200 + "0]"),
    *("[" * depth + "]" * depth for depth in (_DEEP, 900, _DEEPER)),
    *('{"a":' * depth + "1" + "}" * depth for depth in (_DEEP, 900, _DEEPER)),
    *('{"type":"array","items":' * depth + "1" + "}" * depth for depth in (_DEEP, 300)),
)
TOML_TOKENS = (
    *("nan", "inf", "-inf", "1e400", "-1", "0", "true", "9" * 5_000, "0x" + "f" * 5_000),
    *("1979-05-27", "2020-13-45", "1979-05-27T07:32:00Z", "00:60:00", "1_000", "0b2"),
    *(
        '""',
        '" "',
        '"\\u0000"',
        '"\\ud800"',
        '"\\u202e"',
        "'''\n'''",
        '"' + "x" * 9_000 + '"',
    ),
    *(
        "[]",
        "{}",
        "[{}]",
        "{a = 1, a = 2}",
        "[1, 'a']",
        '"mqtt://[::1"',
        '"mqtt://h:99999"',
    ),
    *("[" * depth + "]" * depth for depth in (_DEEP, _DEEPER)),
    *("{a = " * depth + "1" + "}" * depth for depth in (_DEEP, _DEEPER)),
)
TOML_LINES = (
    *("a = ", "= 1", "[", "[[a]]", "[a]\n[a]", '"" = 1', "[models]", "a.b = 1\na = 2"),
    *("\ufeff", "a" * 9_000, ".".join("a" * 3_000) + " = 1", "\r", "\0", "[broker.url]"),
)
_LONGEST_WORD = 64
DICTIONARY = tuple(
    sorted(
        {
            word.encode()
            for word in (*JSON_TOKENS, *TOML_TOKENS, *TOML_LINES)
            if 0 < len(word) <= _LONGEST_WORD
        }
    )
)
_TOML_VALUE = re.compile(rb"(?<== ).*")
_HOLE = "\x01hole\x01"


def damaged(seed: bytes, form: Form) -> st.SearchStrategy[bytes]:
    """Return what becomes of a seed: one or a few kinds of damage, often none too deep."""
    kinds: list[st.SearchStrategy[bytes]] = [_cut_and_bent(seed)]
    if form is Form.JSON:
        kinds += [_json(seed), _json(seed), _cut_and_bent(seed, most=1)]
    if form is Form.TOML:
        kinds += [_toml(seed), _toml(seed), _toml(seed)]
    return st.one_of(*kinds)


def _cut_and_bent(seed: bytes, most: int = 3) -> st.SearchStrategy[bytes]:
    """Bytes cut off, flipped, written over by numbers of any width, repeated, put in."""
    place = st.integers(0, len(seed))
    edits = st.one_of(
        st.builds(_cut, place),
        st.builds(_flipped, place, st.integers(0, 7)),
        st.builds(_without, place, st.integers(1, 40)),
        st.builds(_repeated, place, st.integers(1, 40), st.sampled_from([1, 2, 50])),
        st.builds(_with, place, st.binary(min_size=1, max_size=40)),
        st.builds(
            _numbered,
            place,
            st.sampled_from([1, 2, 4, 8]),
            st.sampled_from(_NUMBERS),
            st.sampled_from(["big", "little"]),
        ),
    )

    def applied(chosen: list[Callable[[bytes], bytes]]) -> bytes:
        data = seed
        for edit in chosen:
            data = edit(data)
        return data

    return st.lists(edits, max_size=most).map(applied)


def _cut(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at]


def _flipped(at: int, bit: int) -> Callable[[bytes], bytes]:
    return lambda data: (
        data[:at] + bytes(b ^ 1 << bit for b in data[at : at + 1]) + data[at + 1 :]
    )


def _without(at: int, length: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + data[at + length :]


def _repeated(at: int, length: int, times: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + data[at : at + length] * times + data[at:]


def _with(at: int, more: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + more + data[at:]


def _numbered(at: int, width: int, number: int, order: Any) -> Callable[[bytes], bytes]:  # noqa: ANN401 - int.to_bytes's literal
    written = (number % 2 ** (8 * width)).to_bytes(width, order)
    return lambda data: data[:at] + written + data[at + width :]


def _json(seed: bytes) -> st.SearchStrategy[bytes]:
    """One or two values replaced, left out, given twice, or exchanged for each other."""
    document = json.loads(seed)
    paths = sorted(places(document), key=str)
    if not paths:
        return st.sampled_from(JSON_TOKENS).map(str.encode)
    path = st.sampled_from(paths)
    return st.one_of(
        st.builds(
            lambda at, token: put(document, at, token), path, st.sampled_from(JSON_TOKENS)
        ),
        st.builds(
            lambda at, token: put(document, at, token), path, st.sampled_from(JSON_TOKENS)
        ),
        st.builds(lambda at, other: moved(document, at, other), path, path),
        path.map(lambda at: left_out(document, at)),
        path.map(lambda at: renamed(document, at)),
        path.map(lambda at: doubled(document, at)),
    )


def put(document: object, path: tuple[object, ...], token: str) -> bytes:
    return (
        _dumped(replaced(document, path, _HOLE)).replace(json.dumps(_HOLE), token).encode()
    )


def moved(document: object, path: tuple[object, ...], other: tuple[object, ...]) -> bytes:
    return _dumped(replaced(document, path, _at(document, other))).encode()


def left_out(document: object, path: tuple[object, ...]) -> bytes:
    copy = json.loads(_dumped(document))
    del _at(copy, path[:-1])[path[-1]]
    return _dumped(copy).encode()


def renamed(document: object, path: tuple[object, ...]) -> bytes:
    copy = json.loads(_dumped(document))
    holder = _at(copy, path[:-1])
    if isinstance(holder, dict):
        holder[f"{path[-1]}x"] = holder.pop(path[-1])
    return _dumped(copy).encode()


def doubled(document: object, path: tuple[object, ...]) -> bytes:
    """The same key a second time, with another value, or an element twice."""
    value = _dumped(_at(document, path))
    key = "" if isinstance(path[-1], int) else json.dumps(path[-1]) + ": "
    token = f'"", {key}{value}'
    return put(document, path, token)


def _at(document: Any, path: tuple[Any, ...]) -> Any:  # noqa: ANN401 - any JSON value
    for key in path:
        document = document[key]
    return document


def _dumped(document: object) -> str:
    return json.dumps(document)


def _toml(seed: bytes) -> st.SearchStrategy[bytes]:
    """A value replaced, a line left out, given twice, or another put between."""
    lines = seed.split(b"\n")
    place = st.integers(0, len(lines) - 1)
    return st.one_of(
        st.builds(
            lambda at, token: valued(lines, at, token),
            place,
            st.sampled_from(TOML_TOKENS),
        ),
        st.builds(
            lambda at, line: inserted(lines, at, line), place, st.sampled_from(TOML_LINES)
        ),
        place.map(lambda at: b"\n".join(lines[:at] + lines[at + 1 :])),
        place.map(lambda at: b"\n".join(lines[: at + 1] + lines[at:])),
    )


def valued(lines: list[bytes], at: int, token: str) -> bytes:
    changed = _TOML_VALUE.sub(lambda _: token.encode(), lines[at])
    return b"\n".join([*lines[:at], changed, *lines[at + 1 :]])


def inserted(lines: list[bytes], at: int, line: str) -> bytes:
    return b"\n".join([*lines[:at], line.encode(), *lines[at:]])
