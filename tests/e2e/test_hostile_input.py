"""Garbage on every surface of a real agent: its file, its socket, its command.

Whatever comes, it is refused with a sentence that helps, and the next good request is
answered.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.making import made
from tests.e2e.household import MODEL, ROWS, Household, household

pytestmark = [pytest.mark.slow, pytest.mark.broker]

AGENT = Path(sys.executable).parent / "edgekit-agent"
CONFIGURATION, DONE, REFUSED = 3, 0, 9
WHOLE_NUMBERS = made(version="1", scale=2.0, types=("double", "long"))
HEAD = b"POST /invocations HTTP/1.1\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def farm() -> Iterator[Household]:
    """One agent for all of this file: nothing here may harm it. Column b is of integers."""
    with household() as found:
        found.release(WHOLE_NUMBERS, 1)
        found.start_agent()
        found.until(lambda: found.serves("1"), "version 1 is served")
        yield found


def run(*arguments: str, rows: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [str(AGENT), *arguments], input=rows, capture_output=True, check=False, timeout=60
    )


# --- its file --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad", "sentence"),
    [
        ('device = "pi-7"', "", "device: a text is expected"),
        ("device =", "devise =", "unknown key devise; did you mean device?"),
        ("[limits]", "[limit]", "unknown key limit; did you mean limits?"),
        ("url =", "uri =", "unknown key uri; did you mean url?"),
        ('"mqtt://', '"carrier-pigeon://', "mqtt://host:port"),
        ("telemetry_interval_s = 1", 'telemetry_interval_s = "1"', "a whole number"),
        ("format = 1", "format = 99", "format: a whole number from 1 to 1 is expected"),
        ('"farm"', '"other"', "the fleet of this file, 'other', is expected"),
        ("_type", "_kind", '_type: "root" is expected'),
        ("signed", "sig\\n ned", "not JSON"),
        ("[broker]", "[broker", "not TOML"),
        ("format", "\x00format", "not TOML"),
    ],
)
def test_a_wrong_provisioning_file_is_refused_in_one_line(
    farm: Household, good: str, bad: str, sentence: str
) -> None:
    text = (farm.folder / "agent.toml").read_text("utf-8")
    wrong = farm.folder / "wrong.toml"
    wrong.write_text(text.replace(good, bad, 1), "utf-8")
    assert wrong.read_text("utf-8") != text
    ended = run("run", "--config", str(wrong))
    told = ended.stderr.decode()
    assert ended.returncode == CONFIGURATION, told
    assert sentence in told
    assert told.count("\n") == 1
    assert "Traceback" not in told


# --- its socket ------------------------------------------------------------------------


def send(house: Household, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send bytes to the socket, however little sense they make; return the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(house.socket))
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        answer = b""
        while not answer.endswith(b"}") and (got := connection.recv(65_536)):
            answer += got
    return answer


def posted(body: bytes, kind: bytes = b"application/json") -> bytes:
    head = b"POST /invocations HTTP/1.1\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (kind, len(body)) + body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (HEAD + b"X-Large: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
        (HEAD + b"X-Many: x\r\n" * 200 + b"\r\n", b"431"),
        (b"POST /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"411"),
        (HEAD + b"\r\n{}", b"411"),
        (HEAD + b"Content-Length: 1e3\r\n\r\n", b"411"),
        (HEAD + b"Content-Length: 100000000\r\n\r\n" + b" " * 100_000_000, b"413"),
        (posted(ROWS, b"text/csv"), b"400"),
        (posted(b"a,b\n" + b"1,2,3\n1\n" * 100_000, b"text/csv"), b"400"),
        (posted(b"a" + b",a" * 200_000 + b"\n1", b"text/csv"), b"400"),
        (posted(b"{"), b"400"),
        (posted(b"[" * 1_000_000), b"400"),
        (posted(b'{"a":' * 100_000), b"400"),
        (posted(b'{"inputs": "\xff"}'), b"400"),
        (posted(b'{"dataframe_records": [{"a": 1, "b": ' + b"9" * 10_000 + b"}]}"), b"400"),
        (posted(b'{"dataframe_records": [' + b"1," * 150_000 + b"1]}"), b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    ],
    ids=lambda value: value[:3].decode("ascii", "replace") if len(value) == 3 else "",
)
def test_garbage_on_the_socket_is_answered_and_the_next_request_is_served(
    farm: Household, request_bytes: bytes, status: bytes
) -> None:
    answer = send(farm, request_bytes)
    assert status in answer[:200], answer[:200]
    assert farm.answer() == [6.0]


def test_a_client_that_promises_more_than_it_sends_is_told_so(farm: Household) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(farm.socket))
        connection.sendall(HEAD + b"Content-Length: 50\r\n\r\n{}")
        connection.shutdown(socket.SHUT_WR)
        assert b"50 bytes were promised, 2 came" in connection.recv(65_536)
    assert farm.answer() == [6.0]


def test_a_client_that_drips_its_body_is_cut_off_after_a_while(farm: Household) -> None:
    began_s = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(farm.socket))
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        connection.settimeout(1.0)
        answer = b""
        while not answer and time.monotonic() - began_s < 60:
            connection.sendall(b" ")
            try:
                answer = connection.recv(65_536)
            except TimeoutError:
                continue
    assert b" 408 " in answer
    assert farm.answer() == [6.0]


def test_a_slow_client_in_time_is_served(farm: Household) -> None:
    whole = posted(ROWS)
    third = len(whole) // 3
    parts = (whole[:third], whole[third : 2 * third], whole[2 * third :])
    assert b'"predictions": [6.0]' in send(farm, *parts, pause_s=1.0)


def test_connections_that_only_open_and_close_cost_nothing(farm: Household) -> None:
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(farm.socket))
    farm.until(lambda: farm.serves("1"), "there is room again")


# --- its command -----------------------------------------------------------------------

_CONVERT = "Invalid input. Data is not compatible with model signature. Failed to convert"


@pytest.mark.parametrize(
    ("rows", "code", "sentence"),
    [
        ([{"a": 1.0}], REFUSED, "Model is missing inputs ['b']."),
        ([{"a": "x", "b": 2}], REFUSED, f"{_CONVERT} column a to type 'float64'."),
        ([{"a": 1.0, "b": float("nan")}], REFUSED, f"{_CONVERT} column b to type 'int64'."),
        ([{"a": 1.0, "b": 2.5}], REFUSED, "Can not safely convert float64 to int64."),
        ([{"b": 2, "a": 1.0}], DONE, ""),  # MLflow brings columns into order by name
        ([{"a": 1.0, "b": 2, "c": 3}], DONE, ""),  # and leaves out what is too much
    ],
)
def test_wrong_rows_get_mlflows_own_verdict_and_sentence(
    farm: Household, rows: list[dict[str, object]], code: int, sentence: str
) -> None:
    socket_path = str(farm.socket)
    ended = run("predict", MODEL, "--socket", socket_path, rows=json.dumps(rows).encode())
    told = ended.stderr.decode()
    assert ended.returncode == code, told
    assert sentence in told
    assert "Traceback" not in told
    if code == DONE:
        assert json.loads(ended.stdout)["predictions"] == [6.0]
        assert not told
    else:
        assert told.count("\n") == 1


@pytest.mark.parametrize("rows", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_json_is_refused_before_anybody_is_asked(
    farm: Household, rows: bytes
) -> None:
    ended = run("predict", MODEL, "--socket", str(farm.socket), rows=rows)
    assert ended.returncode == REFUSED
    assert b"not JSON" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_more_rows_than_a_request_may_hold_are_refused_with_the_number(
    farm: Household,
) -> None:
    rows = b"[" + b'{"a": 1.0, "b": 2},' * 2_000_000 + b'{"a": 1.0, "b": 2}]'
    ended = run("predict", MODEL, "--socket", str(farm.socket), rows=rows)
    assert ended.returncode == REFUSED, ended.stderr
    assert b"33554432 are allowed" in ended.stderr
    assert farm.answer() == [6.0]
