"""Files that were each published, but never together."""

import pytest

from edgekit.errors import TransportError, TrustError
from tests.trust.device import ANYTHING_SIGNED, Device, refused
from tests.trust.simulator import Files, Simulator


@pytest.mark.parametrize("role", ["models", "stage-production", "snapshot"])
def test_mixing_files_of_two_states_is_refused(
    operator: Simulator, device: Device, role: str
) -> None:
    older = operator.files[f"2.{role}.json"]
    operator.release("2", 2)
    device.source = Files({**operator.files, f"3.{role}.json": older})
    with refused(device, rf"3\.{role}\.json: .*older", may_change=ANYTHING_SIGNED):
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
    with refused(device, "not the bytes that were signed for", may_change=ANYTHING_SIGNED):
        device.resolve()
    device.source = operator
    assert device.version() == "2"


def test_any_mixture_of_two_states_is_one_of_them_or_refused(
    operator: Simulator, device: Device
) -> None:
    """Every subset of what changed, as a broker may deliver it, in any order."""
    before = dict(operator.files)
    operator.release("2", 2)
    news = sorted(n for n, d in operator.files.items() if before.get(n) != d)
    seen = set()
    for chosen in range(2 ** len(news)):
        come = {n for at, n in enumerate(news) if chosen >> at & 1}
        mixed = {n: d for n, d in operator.files.items() if n not in news or n in come}
        folder = device.folder / str(chosen)
        source = Files({**before, **mixed})
        one = Device(folder=folder, root=device.root, source=source)
        try:
            vouched = one.resolve()
        except (TrustError, TransportError):
            seen.add("refused")
            continue
        assert vouched is not None
        assert vouched.pointer.version == vouched.record.version
        seen.add(vouched.pointer.version)
    assert seen == {"1", "2", "refused"}


def test_targets_of_before_a_revocation_do_not_fit_the_snapshot_after_it(
    operator: Simulator, device: Device
) -> None:
    """Old targets would name the revoked key of a stage again."""
    old = dict(operator.files)
    operator.rotate("stage-production")
    files = {**operator.files, "2.targets.json": old["1.targets.json"]}
    device.source = Files(files)
    with refused(device, r"2\.targets\.json: version 1, older", may_change=ANYTHING_SIGNED):
        device.resolve()


def test_a_timestamp_ahead_of_its_snapshot_is_waited_for(
    operator: Simulator, device: Device
) -> None:
    old = dict(operator.files)
    operator.release("2", 2)
    device.source = Files({**old, "timestamp.json": operator.files["timestamp.json"]})
    reason = r"3\.snapshot\.json: not offered at present"
    with refused(device, reason, error=TransportError, may_change=ANYTHING_SIGNED):
        device.resolve()
    device.source = operator
    assert device.version() == "2"
