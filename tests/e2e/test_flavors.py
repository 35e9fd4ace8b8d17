"""Which flavor a device takes: the best it can hold, another when that one fails here."""

import pytest

from edgekit_agent.update.need import RUNTIME_BYTES
from tests.agent.making import made
from tests.e2e.household import Household, household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

_MB = 2**20
FIRST = made(version="1", scale=2.0)
WRONG = made(version="2", scale=3.0, golden_scale=2.0, peak_rss_bytes=50 * _MB)
SMALL = made(version="2", scale=3.0, flavor="int8")
LARGE = made(version="2", scale=3.0, peak_rss_bytes=3000 * _MB)
# Far above what onnxruntime really takes, which differs between processors.
SIGNED_MB = 260
BESIDE_MB = SIGNED_MB - RUNTIME_BYTES // _MB  # what a second model takes beside the first


def limit(house: Household, line: str) -> None:
    """Set a limit of the device before the agent starts."""
    text = house.config.read_text("utf-8")
    key = line.split("=", maxsplit=1)[0]
    (kept,) = (said for said in text.splitlines() if said.startswith(key))
    house.config.write_text(text.replace(kept, line), "utf-8")


def test_after_a_failed_proof_the_next_flavor_serves_and_the_failure_is_told(
    serving: Household,
) -> None:
    serving.release(WRONG, 2, SMALL)
    serving.until(lambda: serving.serves("2"), "version 2 is served")
    assert serving.ask().flavor == "int8"
    serving.until(
        lambda: serving.reported()["current"]["flavor"] == "int8",  # type: ignore[index]  # JSON
        "it is reported",
    )
    (refusal,) = serving.refused()
    assert refusal["flavor"] == "fp32"
    assert "output y at (0, 0)" in refusal["reason"]
    assert not (serving.folder / "state" / "bundles" / WRONG.sha256).exists()


def test_where_memory_is_short_a_smaller_flavor_is_taken(house: Household) -> None:
    limit(house, "model_ram_mb = 200")
    house.release(LARGE, 1, SMALL)
    house.start_agent()
    house.until(lambda: house.serves("2"), "version 2 is served")
    assert house.ask().flavor == "int8"
    assert not any("blob" in name.name for name in house.folder.glob("state/incoming/*"))


def test_a_model_keeps_within_its_own_budget_and_says_by_how_much_it_does_not(
    house: Household,
) -> None:
    text = house.config.read_text("utf-8")
    own = text.replace('stage = "production"', 'stage = "production", ram_mb = 55')
    house.config.write_text(own, "utf-8")
    house.release(SMALL, 1)
    house.start_agent()
    house.until(lambda: house.trouble().get("kind") == "rejected", "it is refused")
    reason = house.trouble()["reason"]
    assert "int8: RAM: it takes 60.0 MB, 55.0 MB is allowed for this model" in reason


def test_what_two_models_take_together_is_kept_within_the_limit() -> None:
    """Each fits alone, onnxruntime included. Together they do not."""
    wine = made(version="1", scale=2.0, peak_rss_bytes=SIGNED_MB * _MB)
    beer = made(model="beer", version="7", scale=10.0, peak_rss_bytes=SIGNED_MB * _MB)
    with household("wine", "beer") as house:
        limit(house, f"model_ram_mb = {SIGNED_MB + 10}")
        house.release(wine, 1)
        house.start_agent()
        house.until(lambda: house.serves("1"), "the first is served")
        house.release(beer, 1)
        left_mb = SIGNED_MB + 10 - BESIDE_MB

        def waits() -> bool:
            trouble = house.trouble("beer")
            numbers = f"{left_mb}.0 MB is left beside wine {BESIDE_MB}.0 MB"
            return numbers in trouble.get("reason", "") and trouble["kind"] == "not-now"

        house.until(waits, "the second waits, with the numbers")
        assert house.answer() == [6.0]
        house.stop("agent")
        limit(house, f"model_ram_mb = {SIGNED_MB + BESIDE_MB}")
        house.start_agent()
        house.until(lambda: house.serves("7", "beer"), "there is room for both")
        assert house.answer("beer") == [30.0]
        assert house.answer() == [6.0]
