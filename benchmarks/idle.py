# noqa: INP001 - a script, not a package
"""Count what a device costs its broker when nothing happens, and when one model changes.

    python -m benchmarks.idle [--json]

A real mosquitto, depot and agent, with a proxy before the broker that reads MQTT. Bytes are
those of MQTT packets, both directions, without TCP and TLS; a bundle's chunks are left out.
Needs a checkout (it starts its fleet with the tests' household) and the packages of
`make test`.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

from edgekit.statement import record_path
from tests.agent.making import made
from tests.e2e.household import STAGE, Household, household
from tests.e2e.test_aws_limits import tapped
from tests.trust.simulator import digest, pointer, record
from tests.wiretap import Kind, Packet, Wiretap

MODELS = (1, 20, 100)  # in the device's stage; it follows one of them
KEEPALIVE_S = 30
LOOKS_AN_HOUR = 1  # rules/state.py: Policy.poll_s
CALM_S = 3.0
FIRST, SECOND = made(version="1", scale=2.0), made(version="2", scale=3.0)
_PINGS = {Kind.PINGREQ, Kind.PINGRESP}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Bytes of one device, for a fleet whose stage runs so many models."""

    models: int
    idle_hour: int
    look: int
    release: int
    rollback: int
    index: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="One JSON object a line.")
    arguments = parser.parse_args()
    if not arguments.json:
        sys.stdout.write(
            "| models in the stage | idle, an hour | a look without news | a release |"
            " a rollback | of these, the index |\n|---|---|---|---|---|---|\n"
        )
    for models in MODELS:
        cost = measured(models)
        if arguments.json:
            sys.stdout.write(json.dumps(asdict(cost)) + "\n")
        else:
            row = " | ".join(f"{value:,}" for value in asdict(cost).values())
            sys.stdout.write(f"| {row} |\n")
        sys.stdout.flush()


def measured(models: int) -> Cost:
    """Run one fleet through a quiet start, a release and a rollback."""
    with household() as house, tapped(house) as wiretap:
        quieten(house)
        house.stop("depot")
        house.start_depot()
        fill(house, models - 1)
        house.release(FIRST, 1)
        house.start_agent()
        house.until(lambda: house.serves("1"), "version 1 is served")
        settle(wiretap)
        release = change(house, wiretap, "2", 2)
        rollback = change(house, wiretap, "1", 3)
        house.stop("agent")
        began = wiretap.position()
        house.start_agent()  # it looks soon after its start, and finds nothing new
        house.until(lambda: house.serves("1"), "version 1 is served")
        settle(wiretap)
        look = [
            p for p in of_device(wiretap.seen(began)) if p.client_id.endswith("updater")
        ]
    pings = 2 * 2 * 3600 // KEEPALIVE_S
    looked = sum(packet.length for packet in look)
    return Cost(
        models=models,
        idle_hour=pings + LOOKS_AN_HOUR * looked,
        look=looked,
        release=release,
        rollback=rollback,
        index=max(p.length for p in look if p.topic == house.topics.index),
    )


def quieten(house: Household) -> None:
    """Telemetry is another matter: once a day."""
    path = house.folder / "agent.toml"
    text = path.read_text("utf-8")
    loud, quiet = "telemetry_interval_s = 1\n", "telemetry_interval_s = 86400\n"
    path.write_text(text.replace(loud, quiet), "utf-8")


def fill(house: Household, others: int) -> None:
    """Let the stage run other models too."""
    for number in range(others):
        model = f"model-{number:03}-{digest(str(number))[:8]}"
        said = record("1", model=model).to_json()
        house.signing.put("models", record_path(model, "1"), said)
        pointing = pointer("1", 1, stage=STAGE, model=model).to_json()
        house.signing.put(f"stage-{STAGE}", f"stages/{STAGE}/{model}.json", pointing)


def change(house: Household, wiretap: Wiretap, version: str, rollout: int) -> int:
    """Release a version, and count what the device read and wrote, but for the bundle."""
    began = wiretap.position()
    if rollout == 2:  # noqa: PLR2004 - the first change
        house.release(SECOND, rollout)
    else:
        house.point(FIRST, rollout)
        house.signing.offer(f"stage-{STAGE}")
        house.offer()
    house.until(lambda: house.serves(version), f"version {version} is served")
    settle(wiretap)
    return sum(packet.length for packet in of_device(wiretap.seen(began)))


def of_device(passed: list[Packet]) -> list[Packet]:
    """Return what went to and from the device, without chunks and keep-alives."""
    return [
        packet
        for packet in passed
        if packet.client_id.startswith("edgekit-pi-7")
        and packet.kind not in _PINGS
        and "/blob/" not in packet.topic
    ]


def settle(wiretap: Wiretap) -> None:
    """Wait until nothing but keep-alives has passed for a while."""
    calm_since, seen = time.monotonic(), wiretap.position()
    while time.monotonic() < calm_since + CALM_S:
        time.sleep(0.2)
        if any(packet.kind not in _PINGS for packet in wiretap.seen(seen)):
            calm_since, seen = time.monotonic(), wiretap.position()


if __name__ == "__main__":
    main()
