"""What healthy devices send, for tests to change."""

import json
from typing import Any

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


def window(device: str = "pi-7", **changes: object) -> bytes:
    table: dict[str, Any] = {
        "format": 1,
        "device": device,
        "boot_id": "boot-1",
        "seq": 1,
        "start": "2026-03-01T12:00:00Z",
        "end": "2026-03-01T12:01:00Z",
        "supervisor_rss_bytes": 30_000_000,
        "worker_rss_bytes": 80_000_000,
        "models": [
            {
                "model": "wine",
                "version": "3",
                "flavor": "int8",
                "sha256": SHA,
                "requests": 10,
                "rows": 100,
                "errors": 0,
                "schema_violations": 1,
                "latency_us": {"p50": 50, "p95": 80, "p99": 90, "max": 120},
            }
        ],
        **changes,
    }
    return json.dumps(table).encode()


PRESENT = b'{"online": true, "boot_id": "boot-1", "at": "2026-03-01T12:00:00Z"}'
GONE = b'{"online": false}'
