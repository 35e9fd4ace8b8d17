"""Read the answers of one connection from all the bytes that it brought."""

import re

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_CONTINUE = 100  # a word before the answer


def statuses(stream: bytes) -> list[int]:
    """Return the status of each answer; whatever is none fails the test."""
    found = []
    while stream:
        head, _, stream = stream.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), head
        status = int(head.split(maxsplit=2)[1])
        if status == _CONTINUE:
            continue
        length = _LENGTH.search(head)
        assert length, head
        assert len(stream) >= int(length[1]), "cut off"
        stream = stream[int(length[1]) :]
        found.append(status)
    return found
