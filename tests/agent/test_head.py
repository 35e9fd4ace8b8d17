"""Heads of requests: what is read from them, and what is refused with which status."""

import io
from http import HTTPStatus

import pytest

from edgekit_agent.service import head
from edgekit_agent.service.head import Head, HeadError


def read(data: bytes) -> Head | None:
    return head.read(io.BytesIO(data))


def good(data: bytes) -> Head:
    found = read(data)
    assert found is not None
    return found


def test_a_head_is_read_up_to_its_empty_line() -> None:
    stream = io.BytesIO(b"POST /a?b HTTP/1.1\r\nHost:  x \r\nX-Y:\r\n\r\nbody")
    found = head.read(stream)
    assert found is not None
    assert (found.method, found.target, found.path) == ("POST", "/a?b", "/a")
    assert (found.get("HOST"), found.get("x-y"), found.get("none")) == ("x", "", "")
    assert stream.read() == b"body"


def test_no_request_is_none() -> None:
    assert read(b"") is None
    assert read(b"\r\n") is None


def test_an_empty_line_before_a_request_is_passed_over() -> None:
    assert good(b"\r\nGET / HTTP/1.1\r\n\r\n").method == "GET"


def test_lines_may_end_without_a_carriage_return() -> None:
    assert good(b"GET / HTTP/1.1\nHost: x\n\n").get("Host") == "x"


@pytest.mark.parametrize(
    ("version", "connection", "persistent"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.1", "Keep-Alive", True),
        ("1.1", "keep-alive, Close", False),
        ("1.1", "upgrade,\tclose ", False),
        ("1.1", "not-close-ish", True),
        ("1.0", "", False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "no-keep-alive", False),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_another_request_may_follow(
    version: str,
    connection: str,
    persistent: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    text = f"GET / HTTP/{version}\r\nConnection: {connection}\r\n\r\n"
    assert good(text.encode()).persistent is persistent


def test_a_length_that_comes_twice_is_no_length() -> None:
    text = b"POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 50\r\n\r\n"
    assert good(text).get("Content-Length") == "5, 50"


def test_a_field_that_is_empty_has_come() -> None:
    found = good(b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n")
    assert found.get("transfer-encoding") == ""
    assert found.has("transfer-encoding")
    assert not found.has("Origin")


def test_only_a_client_of_1_1_waits_to_be_asked_for_its_body() -> None:
    head = b"POST / HTTP/1.%d\r\nExpect: 100-Continue\r\n\r\n"
    assert good(head % 1).waits
    assert not good(head % 0).waits


def test_only_blanks_and_tabs_surround_a_value() -> None:
    text = "GET / HTTP/1.1\r\nA:\t b \r\nX:\xa0c\x85\x1c\r\n\r\n"
    found = good(text.encode("iso-8859-1"))
    assert (found.get("a"), found.get("x")) == ("b", "\xa0c\x85\x1c")


def test_a_head_that_ends_before_its_empty_line_is_none() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n"
    for end in range(1, len(whole)):
        with pytest.raises(HeadError, match="it ended in its head") as it:
            read(whole[:end])
        assert it.value.status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1 x\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/2.0\r\n\r\n", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        (b"GET / HTTP/0.9\r\n\r\n", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        (b"\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET\xa0/version\x1cHTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET\t/version HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET  HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b" / HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"\x16\x03\x01\x02\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /" + b"x" * 70_000, HTTPStatus.REQUEST_URI_TOO_LONG),
        (
            b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
        (
            b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 101 + b"\r\n",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
    ],
)
def test_what_is_no_head_is_refused(data: bytes, status: HTTPStatus) -> None:
    with pytest.raises(HeadError, match=r"^request: .* expected|^request: its first") as it:
        read(data)
    assert it.value.status is status
