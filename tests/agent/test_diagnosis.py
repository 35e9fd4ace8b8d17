import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekit.trust.receipt import generate
from edgekit_agent.config import load
from edgekit_agent.diagnosis import hooks, receipts, system, telemetry
from edgekit_agent.diagnosis.finding import Level
from edgekit_agent.storage.spool import Spool
from edgekit_agent.storage.store import Store
from tests.agent.test_cli import provision
from tests.agent.windows import window

MB = 2**20


@pytest.mark.parametrize(
    ("name", "bits", "level", "words"),
    [
        ("linux-aarch64", 64, Level.OK, "64-bit"),
        ("linux-aarch64", 32, Level.TROUBLE, "also under a 64-bit kernel"),
        ("linux-armv7l", 32, Level.TROUBLE, "linux-armv7l"),
        ("linux-x86_64", 64, Level.NOTE, "said to be aarch64"),
    ],
)
def test_a_userland_without_wheels_is_told(
    name: str, bits: int, level: Level, words: str
) -> None:
    found = system.userland(name, bits, "aarch64")
    assert found.level is level
    assert words in found.fact


@pytest.mark.parametrize(
    ("name", "version", "level"),
    [
        ("glibc", "2.28", Level.OK),
        ("glibc", "2.36", Level.OK),
        ("glibc", "2.27", Level.TROUBLE),
        ("", "", Level.TROUBLE),
    ],
)
def test_a_c_library_without_wheels_is_told(name: str, version: str, level: Level) -> None:
    assert system.c_library(name, version).level is level


def test_little_free_memory_is_told_and_keeps_nothing_away() -> None:
    assert system.ram(600 * MB, 512 * MB).level is Level.OK
    found = system.ram(100 * MB, 512 * MB)
    assert found.level is Level.NOTE
    assert found.fact == "100 MB free, models may take 512 MB"


def test_a_clock_before_the_newest_signed_time_is_told() -> None:
    floor = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert system.clock(datetime(2026, 3, 2, tzinfo=UTC), floor).level is Level.OK
    found = system.clock(datetime(1970, 1, 1, tzinfo=UTC), floor)
    assert found.level is Level.NOTE
    assert "1970-01-01 00:00, before the newest signed time 2026-03-01 12:00" in found.fact


def test_a_hook_that_would_not_be_run_is_told(folder: Path) -> None:
    path = provision(folder)
    text = path.read_text().replace("[limits]", f'[hooks]\ndir = "{folder}"\n[limits]')
    path.write_text(text)
    settings = load(path)
    assert list(hooks.look(settings)) == []
    hook = folder / "pre-activate"
    hook.write_text("#!/bin/sh\n")
    (found,) = hooks.look(settings)
    assert found.level is Level.TROUBLE
    assert "not an executable file" in found.fact
    hook.chmod(0o755)
    (found,) = hooks.look(settings)
    assert found.level is Level.OK


def test_a_key_that_signs_nothing_is_told_and_keeps_no_update_away(folder: Path) -> None:
    path = provision(folder)
    assert list(receipts.look(load(path))) == []
    path.write_text(f'receipt_key_file = "pi-7.receipt.key"\n{path.read_text()}')
    key = path.with_name("pi-7.receipt.key")
    (found,) = receipts.look(load(path))
    assert (found.level, "cannot be read" in found.fact) == (Level.NOTE, True)
    key.write_bytes(generate()[0])
    key.chmod(0o644)
    (found,) = receipts.look(load(path))
    assert "mode 644, others may use it; 640 is expected" in found.fact
    key.chmod(0o640)
    assert [one.level for one in receipts.look(load(path))] == [Level.OK]
    key.write_bytes(b"garbage")
    (found,) = receipts.look(load(path))
    assert "an unencrypted PEM file is expected" in found.fact


def test_telemetry_that_nobody_takes_is_told_with_who_would(folder: Path) -> None:
    settings = load(provision(folder))
    store = Store(settings.state_dir)
    (found,) = telemetry.look(settings, store)
    assert (found.level, found.fact) == (Level.OK, "0 windows wait, 0 of 1,024 kB")
    spool = Spool(store.telemetry, most_bytes=2**20)
    spool.open()
    spool.add(window(1), sent=True)
    spool.add(window(2), sent=False)
    (found,) = telemetry.look(settings, store)
    assert (found.level, found.fact) == (Level.OK, "2 windows wait, 8 of 1,024 kB")
    (found,) = telemetry.look(settings, store, time.time() + 5 * 3600)
    assert found.level is Level.NOTE
    assert "5 hours ago and nobody took them" in found.fact
    assert "edgekit fleet watch" in found.advice
