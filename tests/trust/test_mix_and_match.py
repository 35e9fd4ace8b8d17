"""Files that were each published, but never together."""

import pytest

from edgekit.errors import TrustError
from tests.trust.simulator import (
    Device,
    Files,
    Simulator,
)


@pytest.mark.parametrize("role", ["models", "stage-production", "snapshot"])
def test_mixing_files_of_two_states_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    older = operator.files[f"2.{role}.json"]
    operator.release("2", 2)
    device.source = Files({**operator.files, f"3.{role}.json": older})
    with pytest.raises(TrustError, match=rf"3\.{role}\.json: .*older"):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


def test_an_older_statement_under_the_name_of_a_newer_one_is_refused(
    operator: Simulator, device: Device
) -> None:
    before = dict(operator.files)
    older = next(d for n, d in before.items() if n.startswith("targets/stages"))
    operator.release("2", 2)
    new = operator.files.keys() - before
    name = next(n for n in new if n.startswith("targets/stages"))
    device.source = Files({**operator.files, name: older})
    with pytest.raises(TrustError, match="not the bytes that were signed for"):
        device.resolve()
    device.source = operator
    assert device.version() == "2"
