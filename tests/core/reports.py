"""What healthy devices send, for tests to change."""

import json
from collections.abc import Sequence
from typing import Any

from edgekit.durations import Durations
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.window import Window

SHA = "ab" * 32


def state(device: str = "pi-7", **changes: object) -> bytes:
    table: dict[str, Any] = {
        "format": 1,
        "device": device,
        "board": "raspberry-pi-4",
        "agent": "0.1.0",
        "onnxruntime": "1.31.1",
        "boot_id": "boot-1",
        "seq": 1,
        "at": "2026-03-01T12:00:00Z",
        "models": [model_state()],
        **changes,
    }
    return json.dumps(table).encode()


def model_state(**changes: object) -> dict[str, object]:
    return {
        "model": "wine",
        "stage": "production",
        "phase": "serving",
        "rollout": 1,
        "current": {
            "version": "3",
            "flavor": "int8",
            "sha256": SHA,
            "since": "2026-03-01T11:00:00Z",
        },
        "previous": None,
        "candidate": None,
        "attempts": 0,
        "trouble": None,
        **changes,
    }


def counts(p50_us: int = 50, **changes: Any) -> BundleCounts:  # noqa: ANN401 - any field of it
    """A bundle's counts in a window, with requests that all took as long."""
    known: dict[str, Any] = {
        "model": "wine",
        "version": "3",
        "flavor": "int8",
        "sha256": SHA,
        "requests": 10,
        "rows": 100,
        "violations": {"hue": 1},
        **changes,
    }
    times = Durations()
    for _ in range(known["requests"]):
        times.add(p50_us)
    return BundleCounts(durations=times.buckets, most_us=times.most_us, **known)


def window(
    device: str = "pi-7",
    *,
    first: int = 1,
    last: int | None = None,
    bundles: Sequence[BundleCounts] | None = None,
    **changes: Any,  # noqa: ANN401 - any field of it
) -> bytes:
    """A window of a minute, as its device sends it."""
    known: dict[str, Any] = {
        "boot_id": "boot-1",
        "start": "2026-03-01T12:00:00Z",
        "end": "2026-03-01T12:01:00Z",
        **changes,
    }
    unordered = (counts(),) if bundles is None else bundles
    told = tuple(sorted(unordered, key=lambda one: (one.model, one.sha256)))
    last = first if last is None else last
    return Window(device=device, first=first, last=last, bundles=told, **known).encode()


PRESENT = b'{"online": true, "boot_id": "boot-1", "at": "2026-03-01T12:00:00Z"}'
GONE = b'{"online": false}'
