"""The pages of the formats tell every field that is written, and their examples hold."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import bundle
from edgekit.manifest import OutputRole
from edgekit.statement import CHUNK_BYTES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/formats/bundle.md").read_text("utf-8")
VECTOR = (ROOT / "tests/vectors/1/bundle.edgekit").read_bytes()
MANIFEST = json.loads(bundle.read_members(io.BytesIO(VECTOR))[0].to_json())
GOLDEN = json.loads(bundle.read_members(io.BytesIO(VECTOR))[1]["golden.json"])
FREE = {"opsets", "session_options", "conversion", "tools"}


def fields(value: object, path: str = "") -> Iterator[str]:
    """Yield the path of every field as the page writes it: `files.*.length`, `a[].b`."""
    if path.rpartition(".")[2] in FREE or path.startswith("signature."):
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            name = "*" if path == "files" else key
            below = f"{path}.{name}" if path else name
            yield below
            yield from fields(inner, below)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from fields(value[0], f"{path}[]")


@pytest.mark.parametrize("field", sorted(set(fields(MANIFEST)) - {"files.*"}))
def test_every_field_of_the_manifest_is_told(field: str) -> None:
    if not field.startswith("x-future"):
        assert f"\n| `{field}` |" in PAGE


@pytest.mark.parametrize("field", ["format", "inputs", "outputs", "dtype", "shape", "data"])
def test_every_field_of_the_golden_vectors_is_told(field: str) -> None:
    assert field in GOLDEN or field in GOLDEN["inputs"]["a"]
    assert f"\n| `{field}` |" in PAGE.partition("## Golden vectors")[2]


def test_the_example_is_the_golden_vectors_manifest() -> None:
    example = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert example
    assert json.loads(example[1]) == MANIFEST


def test_the_first_bytes_are_those_of_the_vector() -> None:
    rows = re.findall(r"^((?:[0-9a-f]{2} {1,2}){16})", PAGE, re.MULTILINE)
    assert bytes.fromhex("".join(rows)) == VECTOR[:48]


def test_the_limits_are_those_of_the_code() -> None:
    assert f"{CHUNK_BYTES:,} by default" in PAGE
    assert f"up to {bundle.MAX_MANIFEST_BYTES // 2**20} MiB" in PAGE
    assert f"any member up to {bundle.MAX_MEMBER_BYTES // 2**30} GiB" in PAGE


def test_every_role_of_an_output_is_told() -> None:
    assert all(f"`{role}`: " in PAGE for role in OutputRole)
