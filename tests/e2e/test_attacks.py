"""What a hostile broker or depot may try on a running device, and what it gains: nothing.

Each test asserts both halves: it is refused and reported with its reason, and the old
model still serves. The last lines show that the device recovers when the attack ends.
"""

import itertools
import threading
from datetime import UTC, datetime, timedelta

import pytest

from edgekit.trust.payload import CryptoSigner
from tests.agent.making import Made, made
from tests.e2e.household import Household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

FIRST = made(version="1", scale=2.0)
SECOND = made(version="2", scale=3.0)
THIRD = made(version="3", scale=4.0)


def refused(house: Household, kind: str, reason: str) -> None:
    """Wait for a report that names the reason; version 1 must answer all the while."""

    def told() -> bool:
        assert house.answer() == [6.0]
        trouble = house.trouble()
        return trouble.get("kind") == kind and reason in trouble.get("reason", "")

    house.until(told, f"a trouble {kind} with {reason!r} is reported")
    assert house.answer() == [6.0]
    assert not (house.folder / "state" / "bundles" / SECOND.sha256).exists()


def recovers(house: Household, rollout: int) -> None:
    """The fleet's own release still gets through."""
    house.release(SECOND, rollout)
    house.until(lambda: house.serves("2"), "version 2 is served in the end")
    assert house.answer() == [9.0]


def test_a_bundle_with_one_flipped_bit_is_refused(serving: Household) -> None:
    blob = serving.store(SECOND)
    damaged = bytearray(SECOND.data)
    damaged[len(damaged) // 2] ^= 1
    blob.write_bytes(bytes(damaged))
    serving.vouch(SECOND)
    serving.point(SECOND, 2)
    serving.signing.offer("models", "stage-production")
    serving.offer()
    refused(serving, "not-now", "digest")
    blob.write_bytes(SECOND.data)
    serving.until(lambda: serving.serves("2"), "the honest bundle is taken")


@pytest.mark.parametrize("role", ["models", "stage-production", "timestamp", "snapshot"])
def test_metadata_signed_by_the_wrong_key_are_refused(
    serving: Household, role: str
) -> None:
    honest = serving.signing.signers[role]
    serving.signing.signers[role] = [CryptoSigner.generate_ed25519()]
    serving.release(SECOND, 2)
    refused(serving, "rejected", "sign")
    serving.signing.signers[role] = honest
    recovers(serving, 2)


def test_an_older_signed_stage_pointer_replayed_by_the_broker_is_refused(
    serving: Household,
) -> None:
    older = dict(serving.signing.files)
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "version 2 is served")
    serving.offer(older)
    serving.until(lambda: bool(serving.trouble()), "the replay is reported")
    assert serving.trouble()["kind"] == "rejected"
    assert "older" in serving.trouble()["reason"]
    assert serving.answer() == [9.0]
    serving.offer()
    serving.until(lambda: not serving.trouble(), "the trouble is cleared")
    serving.release(THIRD, 3)
    serving.until(lambda: serving.serves("3"), "version 3 is served")


def test_an_older_pointer_signed_anew_into_new_metadata_is_refused(
    serving: Household,
) -> None:
    serving.release(SECOND, 2)
    serving.until(lambda: serving.serves("2"), "version 2 is served")
    serving.point(FIRST, 1)  # the very bytes of rollout 1
    serving.signing.offer("stage-production")
    serving.offer()
    serving.until(lambda: bool(serving.trouble()), "the replay is reported")
    assert serving.trouble()["kind"] == "rejected"
    assert "rollout" in serving.trouble()["reason"]
    assert serving.answer() == [9.0]


def test_a_bundle_signed_by_models_but_not_pointed_at_by_the_stage_is_not_run(
    serving: Household,
) -> None:
    serving.store(SECOND)
    serving.vouch(SECOND)
    serving.signing.offer("models")
    serving.offer()
    flood(serving, SECOND)
    assert serving.answer() == [6.0]
    assert not (serving.folder / "state" / "bundles" / SECOND.sha256).exists()


def test_a_bundle_pointed_at_by_the_stage_but_not_signed_by_models_is_refused(
    serving: Household,
) -> None:
    serving.store(SECOND)
    serving.point(SECOND, 2)
    serving.signing.offer("stage-production")
    serving.offer()
    refused(serving, "rejected", "models")
    recovers(serving, 3)


def test_a_pointer_to_other_bytes_than_models_signed_is_refused(
    serving: Household,
) -> None:
    other = made(version="2", scale=5.0)
    serving.store(SECOND)
    serving.store(other)
    serving.vouch(SECOND)
    serving.point(other, 2)
    serving.signing.offer("models", "stage-production")
    serving.offer()
    refused(serving, "rejected", "models")
    recovers(serving, 3)


def test_a_verified_model_that_fails_its_proof_is_refused(serving: Household) -> None:
    broken = made(version="2", scale=3.0, golden_scale=3.1)
    serving.release(broken, 2)
    refused(serving, "rejected", "golden vectors")
    recovers(serving, 3)


def test_nonsense_on_every_topic_of_the_fleet_changes_nothing(serving: Household) -> None:
    names = ("timestamp.json", "2.snapshot.json", "2.models.json", "nonsense")
    with serving.connected("vandal") as transport:
        for name in names:
            topic = serving.topics.file(name)
            for payload in (b"", b"\xff\x00", b"{}", b"[" * 10_000, b"x" * 100_000):
                transport.publish(topic, payload, retain=True)
        transport.publish(serving.topics.index, b"\xff" * 100, retain=True)
        transport.publish(serving.topics.blob(SECOND.sha256), b"\x01", qos=0)
    assert serving.answer() == [6.0]
    recovers(serving, 2)


# --- each promise of TUF, once more on a running device --------------------------------


def test_a_freeze_is_reported_when_the_signatures_expire(serving: Household) -> None:
    signing = serving.signing
    signing.timestamp.expires = datetime.now(UTC) - timedelta(minutes=1)
    serving.release(SECOND, 2)
    refused(serving, "rejected", "expired")
    signing.timestamp.expires = datetime.now(UTC) + timedelta(days=30)
    recovers(serving, 2)


def test_files_of_two_states_are_not_mixed(serving: Household) -> None:
    older = serving.signing.files["2.models.json"]
    serving.store(SECOND)
    serving.vouch(SECOND)
    serving.point(SECOND, 2)
    serving.signing.offer("models", "stage-production")
    serving.offer({**serving.signing.files, "3.models.json": older})
    refused(serving, "rejected", "3.models.json")
    recovers(serving, 3)


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.models.json"])
def test_a_file_longer_than_was_signed_for_is_refused(
    serving: Household, name: str
) -> None:
    serving.store(SECOND)
    serving.vouch(SECOND)
    serving.point(SECOND, 2)
    serving.signing.offer("models", "stage-production")
    padded = serving.signing.files[name] + b" " * 120_000
    serving.offer({**serving.signing.files, name: padded})
    refused(serving, "rejected", f"{name}: more than")
    recovers(serving, 3)


def test_another_fleet_with_the_same_keys_is_refused(serving: Household) -> None:
    named = serving.signing.timestamp.unrecognized_fields
    honest, named["x-edgekit-fleet"] = named["x-edgekit-fleet"], "other"
    serving.release(SECOND, 2)
    refused(serving, "rejected", "signed for fleet 'other'")
    named["x-edgekit-fleet"] = honest
    recovers(serving, 2)


def test_one_stolen_key_of_two_releases_nothing(serving: Household) -> None:
    signing = serving.signing
    signing.rotate("stage-production", count=2, threshold=2)
    serving.offer()
    both = signing.signers["stage-production"]
    signing.signers["stage-production"] = both[:1]
    serving.release(SECOND, 2)
    refused(serving, "rejected", "stage-production was signed by 1/2 keys")
    signing.signers["stage-production"] = both
    recovers(serving, 2)


def test_every_key_is_replaced_while_a_device_is_off_and_the_old_ones_are_refused(
    serving: Household,
) -> None:
    signing = serving.signing
    serving.stop("agent")
    stolen = dict(signing.signers)
    for role in ("root", "root", "timestamp", "snapshot", "targets", "models", "root"):
        signing.rotate(role)
    signing.rotate("stage-production", count=3, threshold=2)
    serving.offer()
    serving.start_agent()
    serving.until(lambda: serving.serves("1"), "version 1 is served")
    own, signing.signers = signing.signers, {**signing.signers, "models": stolen["models"]}
    serving.release(SECOND, 2)
    refused(serving, "rejected", "models was signed by 0/1 keys")
    signing.signers = own
    recovers(serving, 2)


def test_a_flood_on_every_topic_delays_an_update_and_no_more(serving: Household) -> None:
    """Somebody who may write keeps writing while version 2 is released."""
    stop = threading.Event()

    def rage() -> None:
        with serving.connected("flooder") as transport:
            for number in itertools.count():
                if stop.is_set():
                    return
                topics = serving.topics
                transport.publish(topics.blob(SECOND.sha256), b"\1" * 60_000, qos=0)
                transport.publish(topics.file(f"{number % 99}.root.json"), b"{}", qos=0)
                transport.publish(topics.file("timestamp.json"), b"{%d}" % number, qos=0)
                stop.wait(0.01)

    raging = threading.Thread(target=rage)
    raging.start()
    try:
        serving.release(SECOND, 2)
        for _ in range(20):
            assert serving.answer() in ([6.0], [9.0])
    finally:
        stop.set()
        raging.join()
    serving.until(lambda: serving.serves("2"), "version 2 is served in the end")


def flood(house: Household, what: Made) -> None:
    """Send a bundle's bytes to everybody, asked for or not."""
    with house.connected("flooder") as transport:
        for number in range(50):
            payload = number.to_bytes(4, "big") + what.data
            transport.publish(house.topics.blob(what.sha256), payload, qos=0)
