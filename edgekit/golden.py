"""Golden vectors: a few rows and the outputs they must give, on every device.

Encode, decode and compare them. Knows no runtime: who runs the model passes its outputs.
The format is described in docs/formats/bundle.md; numbers are little-endian.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit.document import Reader, canonical_json
from edgekit.errors import ProofError, TrustError
from edgekit.manifest import Tolerance
from edgekit.table import NO_DTYPE, Array, Table

FORMAT = 1
MAX_ELEMENTS = 10_000_000
_TEXT = "str"


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Input rows as a table, and the raw ONNX outputs they must give."""

    inputs: Table
    outputs: Mapping[str, Array]


def encode(golden: Golden) -> bytes:
    """Return the content of golden.json; equal vectors give equal bytes."""
    return canonical_json(
        {
            "format": FORMAT,
            "inputs": {name: _encode(array) for name, array in golden.inputs.items()},
            "outputs": {name: _encode(array) for name, array in golden.outputs.items()},
        }
    )


def decode(data: bytes) -> Golden:
    """Parse, or raise TrustError."""
    reader = Reader.from_json(data, subject="golden vectors", error=TrustError)
    if reader.integer("format") > FORMAT:
        reader.fail("format", f"a format up to {FORMAT}")
    return Golden(
        inputs={name: _decode(entry) for name, entry in reader.named("inputs").items()},
        outputs={name: _decode(entry) for name, entry in reader.named("outputs").items()},
    )


def compare(expected: Golden, got: Mapping[str, Array], tolerance: Tolerance) -> float:
    """Return the largest difference of any number, or raise ProofError.

    It is raised at the first output that is absent, has another shape, has NaNs elsewhere,
    or differs by more than the tolerance. Texts, whole numbers and booleans must be equal.
    """
    return max(
        (
            _difference(name, array, got.get(name), tolerance)
            for name, array in expected.outputs.items()
        ),
        default=0.0,
    )


def _difference(name: str, want: Array, got: Array | None, tolerance: Tolerance) -> float:
    if got is None:
        raise ProofError(f"golden vectors: the model gives no output {name}")
    got = np.asarray(got)
    if got.shape != want.shape:
        raise ProofError(
            f"golden vectors: output {name} has shape {got.shape}, {want.shape} is expected"
        )
    if want.dtype.kind != "f":
        _exact(name, want, got)
        return 0.0
    apart = np.abs(got.astype(np.float64) - want.astype(np.float64))
    allowed = tolerance.atol + tolerance.rtol * np.abs(want.astype(np.float64))
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    wrong = ~(same | (apart <= allowed))
    if wrong.any():
        at = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise ProofError(
            f"golden vectors: output {name} at {at} is {got[at]:.6g}, {want[at]:.6g}"
            f" +- {allowed[at]:.3g} is expected; {int(wrong.sum())} of {wrong.size} differ"
        )
    return float(np.max(np.where(same, 0.0, apart), initial=0.0))


def _exact(name: str, want: Array, got: Array) -> None:
    wrong = np.asarray(got != want)
    if wrong.any():
        at = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise ProofError(
            f"golden vectors: output {name} at {at} is {got[at]}, {want[at]} is"
            f" expected; {int(wrong.sum())} of {wrong.size} differ"
        )


def _encode(array: Array) -> dict[str, object]:
    shape = list(array.shape)
    if array.dtype.kind in "OU":
        return {"dtype": _TEXT, "shape": shape, "values": [str(v) for v in array.flat]}
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": shape,
        "data": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def _decode(reader: Reader) -> Array:
    shape = reader.table.get("shape")
    if not isinstance(shape, list) or not all(
        isinstance(n, int) and 0 <= n <= MAX_ELEMENTS for n in shape
    ):
        reader.fail("shape", "a list of whole numbers")
    dtype = reader.text("dtype")
    try:
        if dtype == _TEXT:
            return np.array(reader.texts("values"), dtype=object).reshape(shape)
        data = base64.b64decode(reader.text("data"), validate=True)
        kind = np.dtype(dtype)
        if kind.kind not in "biuf":
            reader.fail("dtype", "a number or boolean type")
        array: Array = np.frombuffer(data, kind.newbyteorder("<")).reshape(shape)
    except (*NO_DTYPE, binascii.Error) as error:
        raise TrustError(f"{reader.subject}: {error}") from error
    return array.astype(kind)
