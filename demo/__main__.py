"""The whole path on one machine, with real processes: a registry, a broker, three devices.

Trains two versions of a wine classifier, releases the first, updates the fleet to the
second and goes back, while an application on each device keeps asking for predictions.
"""

import argparse
import csv
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from demo import sizes, training
from demo.asking import Asker
from demo.commands import CommandFailedError, Desk
from demo.screen import Screen
from edgekit import embedded_broker
from edgekit.address import BrokerAddress
from edgekit.cli.talk import now
from edgekit.errors import EdgekitError
from edgekit.fleet import status, watch
from edgekit.fleet.book import Book
from edgekit.fleet.folder import FleetFolder
from edgekit.mqtt import MqttTransport
from edgekit.transport import Message
from edgekit.wire import Topics

BOARDS = {
    "pi-zero": "raspberry-pi-zero-2-w",
    "pi-4": "raspberry-pi-4",
    "gateway": "gateway-256mb",
}
COLUMNS = (
    "version",
    "pickle B",
    "fp32 ONNX B",
    "flavor",
    "model B",
    "on the wire B",
    "accuracy before",
    "on the devices",
)
MAX_DROP = "0.06"  # 72 held-back rows, none of them changed, prove no less than 0.051
UPDATE_S = 60.0
ASK_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the story plays: the operator's desk, the fleet as heard, the screen."""

    desk: Desk
    fleet: FleetFolder
    book: Book
    transport: MqttTransport
    topics: Topics
    screen: Screen
    askers: dict[str, Asker]

    def look(self) -> tuple[status.Row, ...]:
        """Take in what the devices report now, and draw it."""
        while (arrival := self.transport.receive(0.0)) is not None:
            if isinstance(arrival, Message):
                watch.take(arrival, topics=self.topics, book=self.book, now=now())
        rows = status.rows(self.book.known())
        self.screen.show(rows)
        return rows

    def wait_for(self, version: str) -> float:
        """Wait until every device serves a version and has answered with it; seconds."""
        began = time.monotonic()
        while time.monotonic() - began < UPDATE_S:
            rows = self.look()
            if all(row.version == version for row in rows):
                took = time.monotonic() - began
                self._rest(ASK_S)
                return took
            time.sleep(0.1)
        raise CommandFailedError(
            f"version {version}: not served by every device within {UPDATE_S:g} s; see the"
            f" logs in {self.desk.folder}"
        )

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(0.2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; must not exist yet")
    parser.add_argument("--delete", action="store_true", help="leave nothing behind")
    parser.add_argument(
        "--broker",
        choices=("mosquitto", "nats-server"),
        help="which broker to start; default: mosquitto where it is, else nats-server",
    )
    options = parser.parse_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="edgekit-demo-"))
    folder.mkdir(exist_ok=options.folder is None)
    began = time.monotonic()
    try:
        play(folder.resolve(), options.broker, began)
    except (EdgekitError, CommandFailedError) as error:
        sys.stderr.write(f"the demo failed: {error}\nits folder, with logs: {folder}\n")
        return 1
    if options.delete:
        shutil.rmtree(folder)
    return 0


def play(folder: Path, broker_kind: str | None, began: float) -> None:
    """Tell the whole story in a folder."""
    askers: dict[str, Asker] = {}
    screen = Screen(askers)
    screen.heading("1  Train two versions of a wine classifier, register them in MLflow")
    trained = training.train(folder)
    for version, accuracy in trained.accuracies.items():
        screen.say(f"  models:/wine/{version}  held-out accuracy {accuracy:.3f}")
    screen.say("  version 1 is in stage Production")
    with embedded_broker.start(folder / "broker", kind=broker_kind) as broker:
        screen.heading(f"2  Found a fleet, enroll three devices (broker: {broker.kind})")
        desk = Desk(
            folder=folder,
            environment={
                "EDGEKIT_FLEET": str(folder / "fleet"),
                "EDGEKIT_PASSPHRASE": secrets.token_urlsafe(),
                "PYTHONUNBUFFERED": "1",
            },
            tell=lambda line: screen.say(f"  $ {line}"),
        )
        try:
            _found(desk, broker.url)
            _start_asking(desk, askers, trained)
            weighed = _play_releases(desk, screen, askers, trained, broker.url)
        finally:
            for asker in askers.values():
                asker.stop()
            desk.stop()
    _summarise(screen, weighed, askers, trained)
    screen.say(f"{time.monotonic() - began:.0f} s in all")


def _found(desk: Desk, broker_url: str) -> None:
    desk.run(
        "edgekit", "init", "fleet", "--name", "demo",
        "--root-keys", "3", "--root-threshold", "2",
        "--broker", broker_url, "--registry", f"sqlite:///{training.DATABASE}",
    )  # fmt: skip
    for device, board in BOARDS.items():
        desk.run(
            "edgekit", "device", "enroll", device, "--board", board,
            "--model", "wine:production", "--out", f"{device}.toml",
            "--state-dir", f"{desk.folder / device}",
            "--runtime-dir", f"{desk.folder / device}",
            "--telemetry-interval", "5",
        )  # fmt: skip
    desk.start("edgekit", "depot", log=desk.folder / "depot.log")
    for device in BOARDS:
        desk.start(
            "edgekit-agent", "run", "--config", f"{device}.toml",
            log=desk.folder / f"{device}.log",
        )  # fmt: skip


def _start_asking(desk: Desk, askers: dict[str, Asker], trained: training.Trained) -> None:
    rows = _holdout(trained.holdout_csv)
    for device in BOARDS:
        askers[device] = Asker(desk.folder / device / "agent.sock", rows)
        askers[device].start()


def _play_releases(
    desk: Desk,
    screen: Screen,
    askers: dict[str, Asker],
    trained: training.Trained,
    broker_url: str,
) -> list[sizes.Sizes]:
    fleet = FleetFolder(path=desk.folder / "fleet")
    topics = Topics(fleet="demo")
    transport = MqttTransport.connect(BrokerAddress(url=broker_url), client_id="demo")
    transport.subscribe(*(topics.every(kind) for kind in watch.ALL))
    with fleet.book() as book, screen:
        stage = Stage(
            desk=desk,
            fleet=fleet,
            book=book,
            transport=transport,
            topics=topics,
            screen=screen,
            askers=askers,
        )
        desk.idle = stage.look
        weighed = _tell(stage, trained)
        last = stage.look()
    transport.close()
    if not screen.console.is_terminal:
        screen.console.print(screen.table(last))
    return weighed


def _tell(stage: Stage, trained: training.Trained) -> list[sizes.Sizes]:
    release = _releaser(stage, trained)
    stage.screen.heading("3  Release Production: convert, quantise, gate, sign, publish")
    weighed = [release()]
    stage.screen.say(f"  every device serves version 1 after {stage.wait_for('1'):.1f} s")
    stage.screen.heading("4  Version 2 goes to Production")
    training.promote(trained.registry_uri, "2")
    weighed.append(release())
    stage.screen.say(f"  every device serves version 2 after {stage.wait_for('2'):.1f} s")
    stage.screen.heading("5  The operator goes back")
    stage.desk.run("edgekit", "rollback", "wine", "--stage", "production")
    stage.screen.say(f"  every device serves version 1 after {stage.wait_for('1'):.1f} s")
    stage.screen.heading("6  How did it get there?")
    stage.screen.say(stage.desk.run("edgekit", "trace", "wine@production"))
    return weighed


def _releaser(stage: Stage, trained: training.Trained) -> Callable[[], sizes.Sizes]:
    def release() -> sizes.Sizes:
        released = stage.desk.run_json(
            "edgekit", "release", "models:/wine/Production",
            "--samples", trained.holdout_csv.name, "--target", "class", "--trust-pickle",
            "--max-drop", MAX_DROP,
        )  # fmt: skip
        if not isinstance(released, dict):
            raise CommandFailedError("edgekit release --json: an object is expected")
        return sizes.of_release(stage.fleet.path, released)

    return release


def _holdout(path: Path) -> list[tuple[dict[str, float], int]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            (
                {name: float(text) for name, text in row.items() if name != "class"},
                int(row["class"]),
            )
            for row in csv.DictReader(file)
        ]


def _summarise(
    screen: Screen,
    weighed: list[sizes.Sizes],
    askers: dict[str, Asker],
    trained: training.Trained,
) -> None:
    table = Table()
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "flavor" else "right")
    for one in weighed:
        table.add_row(
            one.version,
            f"{one.native:,}",
            f"{one.fp32:,}",
            one.flavor,
            f"{one.model:,}",
            f"{one.wire:,}",
            f"{trained.accuracies[one.version]:.3f}",
            f"{_accuracy(askers, one.version):.3f}",
        )
    screen.console.print(table)
    answered = sum(asker.answered for asker in askers.values())
    lost = sum(asker.lost for asker in askers.values())
    screen.say(f"{answered} predictions answered on three devices, {lost} lost")
    for one in weighed:
        screen.say(f"report of version {one.version}: {one.report}")


def _accuracy(askers: dict[str, Asker], version: str) -> float:
    scores = [asker.scores[version] for asker in askers.values()]
    return sum(score.accuracy for score in scores) / len(scores)


if __name__ == "__main__":
    sys.exit(main())
