import io
import json
import socket
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from socketserver import StreamRequestHandler, UnixStreamServer

import pytest

from edgekit import __version__
from edgekit.telemetry.refusals import Reason
from edgekit_agent import cli
from edgekit_agent.rules.record import Phase, Record, Release, Trouble, TroubleKind
from edgekit_agent.storage.store import Store
from edgekit_agent.supervision.refusals import RefusalsFile


def provision(folder: Path) -> Path:
    path = folder / "agent.toml"
    path.write_text(
        f"""
        format = 1
        fleet = "demo"
        device = "pi-7"
        board = "raspberry-pi-4"
        state_dir = "{folder}/state"
        runtime_dir = "{folder}"
        root = '{{"signed": {{"_type": "root", "x-edgekit-fleet": "demo"}}}}'
        [broker]
        url = "mqtt://localhost:1883"
        [limits]
        model_ram_mb = 512
        model_flash_mb = 100
        [[models]]
        name = "wine"
        stage = "production"
        """
    )
    return path


class Answering(UnixStreamServer):
    """An agent that gives one prepared answer and keeps what it was asked."""

    status = HTTPStatus.OK
    answer = b'{"predictions": [1]}'
    asked = b""


class _Handler(StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Answering)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.read(1)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        server.asked = head + self.rfile.read(length)
        reply = f"HTTP/1.1 {server.status.value} x\r\nContent-Length: {len(server.answer)}"
        self.wfile.write(f"{reply}\r\n\r\n".encode() + server.answer)


@pytest.fixture
def agent(folder: Path) -> Iterator[Answering]:
    with Answering(str(folder / "agent.sock"), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.shutdown()


def run(*arguments: str) -> int:
    try:
        cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ('[{"a": 1}]', {"dataframe_records": [{"a": 1}]}),
        ("[[1, 2]]", {"instances": [[1, 2]]}),
        ("[]", {"instances": []}),
        (
            '{"inputs": {"a": [1]}, "params": {"k": 1}}',
            {"inputs": {"a": [1]}, "params": {"k": 1}},
        ),
    ],
)
def test_rows_are_sent_in_the_scoring_protocol(  # noqa: PLR0913, PLR0917 - fixtures
    folder: Path,
    agent: Answering,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    sent: object,
) -> None:
    typed(monkeypatch, text)
    assert run("predict", "a b", "--config", str(provision(folder))) == 0
    assert capsys.readouterr().out == '{"predictions": [1]}\n'
    head, _, body = agent.asked.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /models/a%20b/invocations ")
    assert json.loads(body) == sent


@pytest.mark.parametrize(
    ("status", "code"),
    [(HTTPStatus.BAD_REQUEST, 9), (HTTPStatus.NOT_FOUND, 3), (HTTPStatus.BAD_GATEWAY, 8)],
)
def test_a_refusal_is_one_sentence_and_an_exit_code(  # noqa: PLR0913 - fixtures
    folder: Path,
    agent: Answering,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    status: HTTPStatus,
    code: int,
) -> None:
    agent.status = status
    agent.answer = b'{"error_code": "X", "message": "Model is missing inputs [\'b\']."}'
    typed(monkeypatch, "[]")
    assert run("predict", "wine", "--socket", str(folder / "agent.sock")) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("Model is missing inputs ['b'].\n")


def test_without_a_daemon_predict_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "[]")
    assert run("predict", "wine", "--socket", str(folder / "agent.sock")) == 8
    assert "is `edgekit-agent run` running?" in capsys.readouterr().err


def test_input_that_is_no_json_is_a_schema_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "a,b\n1,2\n")
    assert run("predict", "wine", "--socket", str(folder / "agent.sock")) == 9


def test_a_missing_file_of_rows_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = folder / "rows.json"
    assert run("predict", "wine", str(rows), "--socket", str(folder / "agent.sock")) == 3
    assert str(rows) in capsys.readouterr().err


def served(folder: Path) -> Record:
    store = Store(folder / "state")
    store.prepare()
    setback = Trouble(
        kind=TroubleKind.REJECTED, error="ProofError", reason="NaN", at="t", sha256=None
    )
    record = Record(
        model="wine",
        stage="production",
        phase=Phase.SERVING,
        current=Release(
            version="2", flavor="int8", sha256="a" * 64, rollout=2, since="2026-01-01Z"
        ),
        trouble=setback,
    )
    store.save(record)
    return record


def test_status_works_without_a_daemon(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served(folder)
    assert run("status", "--config", str(provision(folder))) == 0
    assert capsys.readouterr().out.splitlines() == [
        "pi-7 (raspberry-pi-4): the agent does not answer",
        "wine (production): serving",
        "  current   version 2, int8, aaaaaaaaaaaa, since 2026-01-01Z",
        "  trouble   rejected: NaN (t)",
    ]


def test_status_for_a_script_is_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served(folder)
    assert run("status", "--json", "--config", str(provision(folder))) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["models"][0]["current"]["version"] == "2"
    assert told["serving"] is False


def test_status_tells_what_was_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusals = RefusalsFile(folder)
    refusals.begin("2026-01-01T00:00:00Z")
    assert run("status", "--config", str(provision(folder))) == 0
    assert "refused" not in capsys.readouterr().out
    refusals.add({Reason.HTTP_PATH: 2})
    refusals.add({Reason.HTTP_PATH: 1, Reason.ASK_BUSY: 40})
    assert run("status", "--config", str(provision(folder))) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == "refused since 2026-01-01T00:00:00Z: ask-busy 40, http-path 3"
    assert run("status", "--json", "--config", str(provision(folder))) == 0
    assert json.loads(capsys.readouterr().out)["refusals"] == {
        "since": "2026-01-01T00:00:00Z",
        "counts": {"http-path": 3, "ask-busy": 40},
    }


@pytest.mark.parametrize("text", ["", "{", '{"since": 1}', '{"counts": {"x": -1}}'])
def test_status_without_a_readable_count_of_refusals_says_nothing_of_them(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (folder / "refusals.json").write_text(text)
    assert run("status", "--json", "--config", str(provision(folder))) == 0
    assert json.loads(capsys.readouterr().out)["refusals"] is None


def test_status_of_a_fresh_device_says_that_nothing_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status", "--config", str(provision(folder))) == 0
    assert "wine (production): idle" in capsys.readouterr().out


def test_a_mistake_in_the_provisioning_file_is_exit_code_3(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = provision(folder)
    path.write_text(path.read_text().replace("device =", "devise ="))
    assert run("status", "--config", str(path)) == 3
    assert "did you mean device?" in capsys.readouterr().err


def test_the_provisioning_file_may_come_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_AGENT_CONFIG", str(provision(folder)))
    assert run("status") == 0


@pytest.mark.parametrize("command", [[], ["run"], ["predict"], ["status"]])
def test_every_help_teaches(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    text = capsys.readouterr().out
    assert "exit codes: 0 done" in text
    assert command == [] or "edgekit-agent " in text


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"edgekit-agent {__version__}\n"


def test_without_a_command_the_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "COMMAND" in capsys.readouterr().err


def test_a_stale_socket_file_is_no_daemon(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "agent.sock"))
    served(folder)
    assert run("status", "--config", str(provision(folder))) == 0


def test_try_hook_runs_it_and_says_what_its_end_means(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = provision(folder)
    text = path.read_text().replace("[limits]", f'[hooks]\ndir = "{folder}"\n[limits]')
    path.write_text(text)
    hook = folder / "pre-activate"
    assert run("try-hook", "--config", str(path), "pre-activate", "wine") == 3
    assert "no such file; this device has no such hook" in capsys.readouterr().err
    hook.write_text('#!/bin/sh\necho "$1 $EDGEKIT_STAGE"\nexit 21\n')
    hook.chmod(0o755)
    assert run("try-hook", "--config", str(path), "pre-activate", "wine") == 1
    said = capsys.readouterr()
    assert said.out == "wine production\n"
    assert said.err.startswith("not-now: pre-activate: wine production (")
    assert said.err.endswith("asked again after 300 s)\n")
    hook.write_text("#!/bin/sh\n")
    assert run("try-hook", "--config", str(path), "pre-activate", "wine") == 0
