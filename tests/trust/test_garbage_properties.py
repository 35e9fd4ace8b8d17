"""Whatever a broker sends, the client answers with one of edgekit's errors."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical

from edgekit.errors import TransportError, TrustError
from tests.trust.device import Device
from tests.trust.simulator import Files, Simulator

pytestmark = pytest.mark.slow  # thousands of variants

OPERATOR = Simulator()
OPERATOR.release("1", 1)
NAMES = sorted(OPERATOR.files)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def outcome(device: Device) -> str:
    """Return the version a device runs; any error but edgekit's own is the test's."""
    try:
        return str(device.version())
    except (TrustError, TransportError):
        return "refused"


def outcome_with(name: str, data: bytes) -> str:
    """Return what a new device makes of a source with one file replaced."""
    with tempfile.TemporaryDirectory() as folder:
        source = Files({**OPERATOR.files, name: data})
        return outcome(Device(Path(folder), OPERATOR.trusted_root, source))


def replace_one(document: dict[str, object], value: object, data: st.DataObject) -> None:
    """Put a value somewhere into a JSON object."""
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        inner = place[key]
        if not isinstance(inner, dict) or not inner or not data.draw(st.booleans()):
            place[key] = value
            return
        place = inner


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(NAMES), position=st.integers(0), bit=st.integers(0, 7))
def test_one_flipped_bit_is_refused_or_changes_nothing(
    name: str, position: int, bit: int
) -> None:
    data = bytearray(OPERATOR.files[name])
    data[position % len(data)] ^= 1 << bit
    assert outcome_with(name, bytes(data)) in {"1", "refused"}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), value=JSON)
def test_one_replaced_value_is_refused_or_changes_nothing(
    data: st.DataObject, value: object
) -> None:
    """Parsers are met before signatures are: none may be brought down."""
    name = data.draw(st.sampled_from(NAMES))
    document = json.loads(OPERATOR.files[name])
    replace_one(document, value, data)
    assert outcome_with(name, json.dumps(document).encode()) in {"1", "refused"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.data(),
    value=JSON,
    role=st.sampled_from(["timestamp", "snapshot", "stage-production"]),
)
def test_no_rightly_signed_nonsense_brings_the_client_down(
    data: st.DataObject, value: object, role: str
) -> None:
    """A thief of keys can sign anything: refused, or as good as what it replaced."""
    thief = Simulator(signers=OPERATOR.signers)
    thief.release("1", 1)
    name = "timestamp.json" if role == "timestamp" else f"2.{role}.json"
    document = json.loads(thief.files[name])
    replace_one(document["signed"], value, data)
    try:
        payload = (encode_canonical(document["signed"]) or "").encode()
    except FormatError:
        assume(False)  # noqa: FBT003 - hypothesis' own way: TUF's JSON has no fractions
    signature = thief.signers[role][0].sign(payload)
    document["signatures"] = [signature.to_dict()]
    thief.files[name] = json.dumps(document).encode()
    thief.list_without_lengths(role)
    with tempfile.TemporaryDirectory() as folder:
        device = Device(Path(folder), OPERATOR.trusted_root, thief)
        assert outcome(device) in {"1", "None", "refused"}
