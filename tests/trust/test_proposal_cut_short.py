"""Proposals on a disk that is full, and commands that are killed half-way."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.trust.keys import public_key
from tests.power import torn_writes
from tests.trust.people import SECRET, People, for_bob, run

pytestmark = pytest.mark.slow  # makes keys: each takes a fifth of a second on purpose


def _full(*_args: object, **_more: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_neither_a_proposal_nor_its_key(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    (people.fleet / "pending").mkdir()
    before, original = people.contents(), os.replace

    def refused(source: str, target: Path) -> None:
        if Path(target).parent.name == "pending":
            _full()
        original(source, target)

    monkeypatch.setattr(os, "replace", refused)
    result = run("keys", "rotate", "timestamp", "--propose", "--fleet", people.fleet)
    assert result.exit_code == 10
    assert "keys-timestamp.json: cannot be written: No space left" in result.stderr
    assert people.contents() == before


def test_a_full_disk_leaves_the_file_as_it_was_sent(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = for_bob(people)
    before = file.read_bytes()
    keys = f"--keys={people.folder / 'ada'}"
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", _full)
        result = run("sign", file, keys, "--yes")
    assert result.exit_code == 10
    assert file.read_bytes() == before
    assert run("sign", file, keys, "--yes").exit_code == 0


@pytest.mark.parametrize("role", ["root", "targets", "models", "timestamp", "stage-new"])
def test_a_publication_that_was_cut_short_is_finished_by_the_same_file(
    people: People, role: str
) -> None:
    """At any write, with what reached the disk, and nobody's key but the fleet's."""
    if role == "timestamp":
        file = people.propose("rotate", role)
    else:
        new = ["add", role, "--new"] if role == "stage-new" else ["rotate", role]
        file = people.propose(*new, "--theirs", people.makes("bob", role))
        people.sign("bob", file)
    people.sign("ada", file)
    wanted = public_key(
        people.fleet / "keys/timestamp-2.pem"
        if role == "timestamp"
        else people.folder / f"bob-{role}.pub"
    ).keyid

    def publish(copy: Path) -> None:
        result = run("publish", file, f"--keys={people.fleet / 'keys'}", "--fleet", copy)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception

    whole = people.fleet
    for number, copy in enumerate(torn_writes(whole, people.folder / "torn", publish)):
        if number % 3:
            continue  # a third of the places: each costs the opening of two keys
        people.fleet = copy
        publish(copy)
        assert people.keys(role).keyids == (wanted,), number
        assert people.device_runs(f"device{number}") == "1"
    people.fleet = whole


def test_a_kill_while_signing_leaves_the_file_as_it_was_or_signed(people: People) -> None:
    file = for_bob(people)
    before = file.read_bytes()
    stopped = (
        "import os, signal\n"
        "from edgekit import atomic\n"
        "atomic.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from edgekit.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            stopped,
            "sign",
            file,
            "--keys",
            people.folder / "ada",
            "--yes",
        ],
        env={**os.environ, "EDGEKIT_PASSPHRASE": SECRET},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert file.read_bytes() == before
    assert people.sign("ada", file).exit_code == 0
