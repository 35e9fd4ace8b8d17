# noqa: INP001 - a script, not a package
"""A day of a device in a quarter of an hour: nothing is lost and nothing grows.

    python -m benchmarks.day [--quick] [--process own|shared] [--json]

One real agent, its depot, a real broker and a book that listens. Four threads of another
process ask for predictions all the time, one row and a hundred rows at a time, while two
versions of a model are released in turn, and the broker is killed and restarted or its
connections are cut. At the end every request was answered whole by one of the two
versions, every one is counted in the book, and from the second quarter to the last neither
memory nor files, descriptors or threads have grown. What does not hold ends it with 1.
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.cable import Cable
from benchmarks.watching import SAMPLE_S, SLACK, Ear, Gauge, growth
from edgekit.errors import EdgekitError
from edgekit_agent import client
from tests.agent.making import made
from tests.e2e.household import MODEL, STAGE, Household, household

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

ASKERS = 4
BATCH = 100
ONE_IN = 25  # requests is a batch
PATIENCE_S = 120.0
LONG_S = 1200.0
DARK_S = 0.5
NICENESS = 10
VERSIONS = (made(version="1", scale=2.0), made(version="2", scale=3.0))
ANSWERS = {"1": 6.0, "2": 9.0}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much happens."""

    single: int
    swaps: int
    drops: int


WHOLE = Plan(single=210_000, swaps=200, drops=50)
QUICK = Plan(single=26_000, swaps=25, drops=6)


# --- who asks: a process of its own ----------------------------------------------------


@dataclass
class Asked:
    """What one thread saw."""

    requests: int = 0
    rows: int = 0
    longest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def askers(socket: Path, single: int, over: Event, told: "Queue[Asked]") -> None:
    """Ask until it is over, and so often at least."""
    os.nice(NICENESS)
    each = single // ASKERS + 1
    threads = [
        threading.Thread(target=lambda: told.put(asked(socket, each, over)))
        for _ in range(ASKERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def asked(socket: Path, single: int, over: Event) -> Asked:
    """Ask one after the other; every answer must be whole."""
    seen = Asked()
    bodies = {rows: _body(rows) for rows in (1, BATCH)}
    while not over.is_set() or seen.requests - seen.requests // ONE_IN < single:
        seen.requests += 1
        rows = BATCH if seen.requests % ONE_IN == 0 else 1
        began_s = time.monotonic()
        try:
            found = client.predict(socket, MODEL, bodies[rows])
            given = json.loads(found.body)["predictions"]
            if given != [ANSWERS[found.version]] * rows:
                seen.failures.append(f"version {found.version} gave {given[:3]}")
        except EdgekitError as error:
            seen.failures.append(str(error))
        seen.rows += rows
        seen.longest_s = max(seen.longest_s, time.monotonic() - began_s)
    return seen


def _body(rows: int) -> bytes:
    return json.dumps({"dataframe_records": [{"a": 1.0, "b": 2.0}] * rows}).encode()


# --- what happens ----------------------------------------------------------------------


class World:
    """Releases and mishaps, in turn."""

    def __init__(self, house: Household, cable: Cable) -> None:
        self.requests = 0  # of its own
        self._house = house
        self._cable = cable
        self._rollout = 0
        self._drops = 0

    def begin(self) -> None:
        """Release both versions, one after the other, to a device that starts."""
        for made_one in VERSIONS:
            self._rollout += 1
            self._house.release(made_one, self._rollout)
            if self._rollout == 1:
                self._house.start_agent()
            self._await(made_one.manifest.model.version)

    def swap(self) -> None:
        """Point at the other version, and wait until it serves."""
        other = VERSIONS[self._rollout % len(VERSIONS)]
        self._rollout += 1
        self._house.point(other, self._rollout)
        self._house.signing.offer(f"stage-{STAGE}")
        self._house.offer()
        self._await(other.manifest.model.version)

    def drop(self) -> None:
        """Kill the broker and bring it back, or cut all connections to it."""
        self._drops += 1
        if self._drops % 2:
            self._cable.cut()
            return
        port = urlsplit(self._house.broker.url).port or 0
        self._house.broker.kill()
        time.sleep(DARK_S)
        self._house.restart_broker(port)

    def _await(self, version: str) -> None:
        def serves() -> bool:
            try:
                found = self._house.ask().version
            except EdgekitError:
                return False
            self.requests += 1
            return found == version

        told = f"version {version} serves"
        self._house.until(serves, told, patience_s=PATIENCE_S)


@contextmanager
def at_home(process: str) -> Iterator[tuple[Household, Cable]]:
    """A fleet of one device; it and the depot reach the broker through a cable."""
    with household(MODEL) as house:
        house.stop("depot")
        text = house.config.read_text("utf-8")
        house.config.write_text(f'{text}\n[serving]\nprocess = "{process}"\n', "utf-8")
        with Cable(urlsplit(house.broker.url).port or 0) as cable:
            for path in (house.config, house.folder / "fleet" / "fleet.toml"):
                text = path.read_text("utf-8")
                through = f"mqtt://127.0.0.1:{cable.port}"
                path.write_text(text.replace(house.broker.url, through), "utf-8")
            house.start_depot()
            yield house, cable


def live(plan: Plan, process: str) -> dict[str, object]:
    """Return the figures of the day, and under "faults" what does not hold."""
    began_s = time.monotonic()
    with at_home(process) as (house, cable):
        ear, world = Ear(house), World(house, cable)
        try:
            world.begin()
            gauge = Gauge(house)
            seen = busy(house, world, plan)
            gauge.stop()
            sent = sum(one.requests for one in seen) + world.requests
            ended_s = time.monotonic()
            counted = told_at_last(ear, sent)
            told_s = time.monotonic() - ended_s
        finally:
            ear.stop()
        lives = house.log.count("worker: started")
    found = growth(gauge)
    faults = [error for one in seen for error in one.failures[:3]]
    faults += [
        f"{name} grew from {early:g} to {late:g}"
        for name, (early, late) in found.items()
        if late > early * (1 + SLACK[name][0]) + SLACK[name][1]
    ]
    if lives != 1:
        faults.append(f"what serves was started {lives} times")
    if counted != sent:
        faults.append(f"{sent} requests were sent, {counted} are in the book")
    return {
        "seconds": round(time.monotonic() - began_s),
        "of these until all was told": round(told_s),
        "requests": sent,
        "predictions": sum(one.rows for one in seen) + world.requests,
        "lost or wrong": sum(len(one.failures) for one in seen),
        "longest wait, s": round(max(one.longest_s for one in seen), 2),
        "swaps": plan.swaps,
        "broker drops": plan.drops,
        "requests in the book": counted,
        **{name: [round(n, 1) for n in both] for name, both in found.items()},
        "faults": faults,
    }


def busy(house: Household, world: World, plan: Plan) -> list[Asked]:
    """Let everything happen, and return what the askers saw."""
    spawn = multiprocessing.get_context("spawn")
    over, told = spawn.Event(), spawn.Queue()
    asking = spawn.Process(target=askers, args=(house.socket, plan.single, over, told))
    asking.start()
    try:
        for turn in range(1, plan.swaps + 1):
            if turn * plan.drops // plan.swaps > (turn - 1) * plan.drops // plan.swaps:
                world.drop()
            world.swap()
    finally:
        over.set()
        seen = [told.get(timeout=LONG_S) for _ in range(ASKERS)]
        asking.join()
    return seen


def told_at_last(ear: Ear, sent: int) -> int:
    """Return how many requests the book knows of, once it has heard of all."""
    ends_s = time.monotonic() + LONG_S
    while (counted := ear.requests()) < sent and time.monotonic() < ends_s:
        time.sleep(SAMPLE_S)
    return counted


def main() -> None:
    """Live and tell; end with 1 where something does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.day",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="two minutes")
    parser.add_argument("--process", choices=("own", "shared"), default="own")
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    found = live(QUICK if options.quick else WHOLE, options.process)
    if options.as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write("".join(f"{name:24} {value}\n" for name, value in found.items()))
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
