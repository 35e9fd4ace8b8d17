import json
import shutil
import stat
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest

from edgekit import board
from edgekit.cli import device as device_command
from edgekit.errors import ConfigError, TransportError
from edgekit.fleet.book import Book
from edgekit.fleet.claim import Said
from edgekit.fleet.folder import FleetFolder
from edgekit.mqtt import MqttTransport
from edgekit.receipt import Receipt, Served
from edgekit.telemetry.refusals import Reason
from edgekit.telemetry.window import FORMAT, Window
from edgekit.trust.receipt import sign
from edgekit.wire import Topics
from tests.core.commands import fleet_in, run
from tests.core.reports import PRESENT, SHA, model_state, state, window
from tests.fakes import FakeBroker, FakeTransport

pytestmark = pytest.mark.slow  # founds fleets: a key takes a fifth of a second on purpose

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOPICS = Topics(fleet="demo")
PROOF: dict[str, object] = {
    "sha256": SHA,
    "rows": 3,
    "difference": 0.0,
    "load_us": 900,
    "one_row_p50_us": 20,
    "one_row_p95_us": 30,
    "peak_rss_bytes": 60_000_000,
}
SHADOW: dict[str, object] = {"rows": 200, "agreed": 197, "failed": 0, "labels": True}


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(device_command, "now", lambda: NOW)
    monkeypatch.setattr(device_command, "account", lambda: "ada")
    return fleet_in(tmp_path)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    made = FakeBroker()

    def connect(_address: object, *, client_id: str) -> FakeTransport:
        return made.connect(client_id)

    monkeypatch.setattr(MqttTransport, "connect", connect)
    return made


def test_enrolling_writes_the_file_and_says_where_it_goes(fleet: Path) -> None:
    result = run("device", "enroll", "pi-7", "--board=raspberry-pi-4", fleet=fleet)

    assert result.stdout == (
        "pi-7 enrolled as raspberry-pi-4, follows wine:production\n"
        f"copy {fleet}/devices/pi-7.toml to it as /etc/edgekit/agent.toml\n"
        f"copy {fleet}/devices/pi-7.receipt.key beside it, for the agent alone, and"
        " delete it here\n"
    )
    table = tomllib.loads((fleet / "devices" / "pi-7.toml").read_text())
    repository = FleetFolder(path=fleet).repository()
    assert table["root"].encode() == repository.trusted_root()
    assert table["fleet"] == repository.fleet == "demo"
    assert table["broker"] == {"url": "mqtt://localhost:1883"}


def test_every_setting_can_be_chosen(fleet: Path, tmp_path: Path) -> None:
    out = tmp_path / "agent.toml"
    result = run(
        "device",
        "enroll",
        "hall 2/press",
        "--board=gateway-256mb",
        "--model=wine:staging",
        "--model=anomaly detector",
        f"--out={out}",
        "--state-dir=/srv/edgekit",
        "--runtime-dir=/srv/run",
        "--enforcement=mlflow",
        "--telemetry-interval=5",
        "--broker=mqtts://broker.plant",
        "--username=press",
        "--password-file=/etc/edgekit/password",
        "--ca-file=/etc/edgekit/ca.pem",
        "--json",
        fleet=fleet,
    )

    models = [
        {"model": "wine", "stage": "staging"},
        {"model": "anomaly detector", "stage": "production"},
    ]
    assert json.loads(result.stdout) == {
        "device": "hall 2/press",
        "board": "gateway-256mb",
        "models": models,
        "enrolled_at": NOW.isoformat(),
        "enrolled_by": "ada",
        "file": str(out),
        "key": f"{tmp_path}/hall%202%2Fpress.receipt.key",
    }
    table = tomllib.loads(out.read_text())
    assert table["broker"] == {
        "url": "mqtts://broker.plant",
        "username": "press",
        "password_file": "/etc/edgekit/password",
        "ca_file": "/etc/edgekit/ca.pem",
    }
    assert (table["state_dir"], table["runtime_dir"]) == ("/srv/edgekit", "/srv/run")
    assert (table["enforcement"], table["telemetry_interval_s"]) == ("mlflow", 5)


def test_a_board_of_ones_own_is_kept_with_the_fleet(fleet: Path, tmp_path: Path) -> None:
    shipped = Path(board.__file__).parents[1] / "boards" / "raspberry-pi-4.toml"
    own = tmp_path / "mine.toml"
    own.write_text(shipped.read_text().replace('"raspberry-pi-4"', '"press-controller"'))

    assert run("device", "enroll", "p1", f"--board={own}", fleet=fleet).exit_code == 0
    own.unlink()

    assert FleetFolder(path=fleet).board("press-controller").name == "press-controller"
    again = run("device", "enroll", "p2", "--board=press-controller", fleet=fleet)
    assert again.exit_code == 0


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--board=raspberry-pi"], 6, "board raspberry-pi: no such profile; did you mean"),
        (
            ["--board=raspberry-pi-4", "--model=wine:prod"],
            3,
            "--model wine:prod: no stage prod in this fleet; it has production, staging",
        ),
        (
            ["--board=raspberry-pi-4", "--state-dir=state"],
            3,
            "device pi-7: state: an absolute path is expected",
        ),
        (
            ["--board=raspberry-pi-4", "--password-file=/x"],
            3,
            "password_file needs username",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nobody_is_enrolled(
    fleet: Path, options: list[str], code: int, sentence: str
) -> None:
    result = run("device", "enroll", "pi-7", *options, fleet=fleet)

    assert (result.exit_code, result.stdout) == (code, "")
    assert sentence in result.stderr
    assert run("device", "list", "--json", fleet=fleet).stdout == "[]\n"
    assert not (fleet / "devices").exists()


def test_a_name_that_is_taken_needs_again(fleet: Path) -> None:
    arguments = ("device", "enroll", "pi-7", "--board=raspberry-pi-4")
    run(*arguments, fleet=fleet)
    before = (fleet / "devices" / "pi-7.toml").read_text()

    taken = run(*arguments, "--model=other", fleet=fleet)
    assert (taken.exit_code, taken.stderr) == (
        3,
        "error: device pi-7: enrolled already; --again writes its file anew\n",
    )
    assert (fleet / "devices" / "pi-7.toml").read_text() == before
    assert run(*arguments, "--model=other", "--again", fleet=fleet).exit_code == 0
    assert "other" in (fleet / "devices" / "pi-7.toml").read_text()


def test_devices_are_listed(fleet: Path) -> None:
    run("device", "enroll", "pi-7", "--board=raspberry-pi-4", fleet=fleet)
    run(
        "device",
        "enroll",
        "gateway",
        "--board=gateway-256mb",
        "--model=a:staging",
        "--model=b",
        fleet=fleet,
    )

    assert run("device", "list", fleet=fleet).stdout == (
        "DEVICE   BOARD           FOLLOWS                  ENROLLED          BY\n"
        "gateway  gateway-256mb   a:staging, b:production  2026-03-01 12:00  ada\n"
        "pi-7     raspberry-pi-4  wine:production          2026-03-01 12:00  ada\n"
    )


def enroll_two(fleet: Path) -> None:
    for name in ("pi-7", "pi-8"):
        run("device", "enroll", name, "--board=raspberry-pi-4", fleet=fleet)


def test_status_tells_what_the_broker_has_kept(fleet: Path, broker: FakeBroker) -> None:
    enroll_two(fleet)
    device = broker.connect("pi-7")
    device.publish(TOPICS.state("pi-7"), state(), retain=True)
    device.publish(TOPICS.presence("pi-7"), PRESENT, retain=True)
    broker.inject(TOPICS.state("eve"), state("eve"), retain=True)

    result = run("fleet", "status", fleet=fleet)

    assert result.stdout == (
        "DEVICE  BOARD           ONLINE  MODEL  STAGE       VERSION  FLAVOR  SINCE         "
        "        PHASE    REQUESTS  P95 MS  RECEIPT         TROUBLE\n"
        "pi-7    raspberry-pi-4  yes     wine   production  3        int8   "
        " 2026-03-01T11:00:00Z  serving  -         -       no receipt yet  -\n"
        "pi-8    raspberry-pi-4  -       wine   production  -        -       -             "
        "        -        -         -       -               never reported\n"
    )
    assert result.stderr == (
        "note: 1 unusable message(s) from devices never enrolled; the last: never"
        " enrolled\n"
    )


def test_status_tells_what_devices_refused(fleet: Path) -> None:
    enroll_two(fleet)
    with Book(fleet / "fleet.db") as book:
        refused = {Reason.HTTP_PATH: 3, Reason.ASK_BUSY: 40, 255: 1}
        for number in (1, 2):
            payload = window(first=number, refusals=refused)
            book.hear_telemetry("pi-7", payload, NOW)

    result = run("fleet", "status", "--offline", fleet=fleet)
    rows = json.loads(run("fleet", "status", "--offline", "--json", fleet=fleet).stdout)

    assert result.stderr == (
        "note: pi-7 refused before any model saw it: http-path 6, ask-busy 80,"
        " reason-255 2\n"
    )
    told = {"http-path": 6, "ask-busy": 80, "reason-255": 2}
    assert [row["refusals"] for row in rows] == [told, {}]


def test_status_tells_what_telemetry_was_lost(fleet: Path) -> None:
    enroll_two(fleet)
    with Book(fleet / "fleet.db") as book:
        for number in (1, 2):
            payload = window(first=number, dropped=number, corrupt=1)
            book.hear_telemetry("pi-7", payload, NOW)

    result = run("fleet", "status", "--offline", fleet=fleet)
    rows = json.loads(run("fleet", "status", "--offline", "--json", fleet=fleet).stdout)

    assert result.stderr == (
        "note: pi-7 lost telemetry windows: 3 for want of room, 2 damaged on its disk\n"
    )
    told = {"dropped": 3, "corrupt": 2, "refused": 0, "unread": 0}
    assert [row["losses"] for row in rows] == [told, {}]


def test_status_tells_of_receipts_hooks_proofs_and_what_was_refused(
    fleet: Path, broker: FakeBroker
) -> None:
    run("device", "enroll", "pi-7", "--board=raspberry-pi-4", fleet=fleet)
    key = fleet / "devices" / "pi-7.receipt.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    told = model_state(
        hook={"hook": "pre-activate", "answer": "not-now", "output": "press\nruns"},
        proof={**PROOF, "shadow": {**SHADOW, "difference": None}},
        refused=[{"rollout": 1, "flavor": "fp16", "sha256": SHA, "reason": "slow"}],
    )
    broker.inject(TOPICS.state("pi-7"), state(models=[told]), retain=True)
    served = {name: str(told[name]) for name in ("model", "stage")}
    receipt = Receipt(
        fleet="demo",
        device="pi-7",
        boot_id="boot-1",
        seq=1,
        at="2026-03-01T12:00:00Z",
        models=(
            Served(**served, version="3", flavor="int8", sha256=SHA, rollout=1, since=""),
        ),
    )
    broker.inject(TOPICS.receipt("pi-7"), sign(receipt, key.read_bytes()), retain=True)

    table = run("fleet", "status", "--verbose", fleet=fleet).stdout
    (row,) = json.loads(run("fleet", "status", "--offline", "--json", fleet=fleet).stdout)

    assert table.splitlines()[0].split()[-5:] == [
        "RECEIPT",
        "HOOK",
        "REFUSED",
        "PROOF",
        "TROUBLE",
    ]
    assert "signed, 2026-03-01T12:00:00Z  pre-activate: not-now  fp16: slow  3 golden" in (
        table
    )
    assert "row 0.03 ms, peak 60 MB, 197 of 200 agree" in table
    assert row["receipt"]["standing"] == "signed"
    assert row["hook"]["output"] == "press runs"
    assert row["proof"] == {**PROOF, "shadow": {**SHADOW, "difference": None}}
    assert row["refused"][0]["reason"] == "slow"


def test_enrolling_again_makes_another_key(fleet: Path) -> None:
    enrolled = "device", "enroll", "pi-7", "--board=raspberry-pi-4"
    key = fleet / "devices" / "pi-7.receipt.key"
    run(*enrolled, fleet=fleet)
    before = key.read_bytes()
    assert run(*enrolled, fleet=fleet).exit_code == ConfigError.exit_code
    assert key.read_bytes() == before
    run(*enrolled, "--again", fleet=fleet)
    assert key.read_bytes() != before


def test_status_offline_tells_what_was_heard_before(
    fleet: Path, broker: FakeBroker
) -> None:
    enroll_two(fleet)
    trouble = {"kind": "rejected", "error": "TrustError", "reason": "forged", "at": "then"}
    broker.inject(
        TOPICS.state("pi-7"), state(models=[model_state(trouble=trouble)]), retain=True
    )
    run("fleet", "status", fleet=fleet)
    broker.kill()

    rows = json.loads(run("fleet", "status", "--offline", "--json", fleet=fleet).stdout)

    assert rows[0]["trouble"] == "rejected: forged"
    assert (rows[0]["version"], rows[0]["sha256"]) == ("3", SHA)


def test_a_broker_that_is_down_is_a_transport_error(
    fleet: Path, broker: FakeBroker
) -> None:
    broker.kill()
    result = run("fleet", "status", fleet=fleet)

    assert result.exit_code == TransportError.exit_code
    assert result.stdout == ""


def test_watching_draws_until_it_is_interrupted(
    fleet: Path, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll_two(fleet)
    broker.inject(TOPICS.state("pi-7"), state(), retain=True)
    received = FakeTransport.receive
    monkeypatch.setenv("COLUMNS", "110")
    arrivals = []

    def interrupted(transport: FakeTransport, timeout_s: float) -> object:
        arrivals.append(timeout_s)
        if len(arrivals) == 2:
            broker.inject(TOPICS.telemetry("pi-7"), window())
        if len(arrivals) > 4:
            raise KeyboardInterrupt
        return received(transport, timeout_s)

    monkeypatch.setattr(FakeTransport, "receive", interrupted)

    result = run("fleet", "watch", fleet=fleet)

    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if line.startswith("pi-7"))
    assert line.split()[1:8] == (
        ["-", "wine@production", "3", "int8", "03-01", "11:00", "serving"]
    )
    with FleetFolder(path=fleet).book() as book:
        assert len(list(book.windows("pi-7"))) == 1


def test_watching_ends_where_another_book_has_the_telemetry(
    fleet: Path, broker: FakeBroker
) -> None:
    enroll_two(fleet)
    other = Said(token="ab", who="ada@station", at="2026-03-01T12:00:00Z")  # noqa: S106 - no secret
    broker.inject(TOPICS.book, other.encode(), retain=True)

    result = run("fleet", "watch", fleet=fleet)

    assert result.exit_code == ConfigError.exit_code
    assert result.stderr == (
        "error: telemetry: another book has it, of ada@station since 2026-03-01T12:00:00Z;"
        " one book for each fleet is expected: run `edgekit fleet watch` only there, or"
        " have it here from now on with --take-over\n"
    )
    assert broker.retained[TOPICS.book] == other.encode()


def test_what_devices_lost_and_what_waits_is_told(fleet: Path) -> None:
    enroll_two(fleet)
    lost = replace(Window.decode(window()), dropped=3, refused=8).encode()
    too_new = window(first=2)
    with FleetFolder(path=fleet).book() as book:
        book.hear_telemetry("pi-7", lost, NOW)
        with patch("edgekit.telemetry.window.FORMAT", FORMAT - 1):
            book.hear_telemetry("pi-7", too_new, NOW)

    with patch("edgekit.fleet.windows.FORMAT", FORMAT - 1):
        result = run("fleet", "status", "--offline", fleet=fleet)

    assert result.stderr == (
        "note: pi-7 lost telemetry windows: 3 for want of room, 8 that this fleet refused\n"
        "note: 1 telemetry window(s) of pi-7 wait in fleet.db for a newer edgekit; update"
        " it here, and they are counted\n"
    )


def test_one_devices_trace_is_asked_by_its_name(fleet: Path, broker: FakeBroker) -> None:
    enroll_two(fleet)
    broker.inject(TOPICS.presence("pi-7"), PRESENT, retain=True)
    run("fleet", "status", fleet=fleet)

    result = run("trace", "--device=pi-7", fleet=fleet)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "pi-7: serves nothing, as far as fleet.db knows\n"


def test_outside_a_fleet_no_database_is_made(tmp_path: Path) -> None:
    for arguments in (["device", "list"], ["fleet", "status"], ["trace", "a@b"]):
        result = run(*arguments, fleet=tmp_path)
        assert result.exit_code == 3
    assert not list(tmp_path.iterdir())


def test_a_damaged_repository_is_said(fleet: Path) -> None:
    shutil.rmtree(fleet / "repository")
    result = run("device", "enroll", "pi-7", "--board=raspberry-pi-4", fleet=fleet)

    assert result.exit_code == 3
    assert "no repository in it" in result.stderr
