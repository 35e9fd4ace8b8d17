"""What a device tells its fleet about itself, as JSON. Knows no transport.

docs/formats/device-state.md is its page.
"""

from collections.abc import Sequence

from edgekit import __version__
from edgekit.document import canonical_json
from edgekit_agent.config import Config
from edgekit_agent.rules.hook import MAX_OUTPUT_CHARS
from edgekit_agent.rules.record import MAX_REASON_CHARS, MAX_REFUSED, Record
from edgekit_agent.rules.state import ModelState
from edgekit_agent.supervision.freshness import Freshness

FORMAT = 1
UNKNOWN = Freshness()
_TEXT_CHARS = 16_000  # of all models together: a report is at most 64 KiB


def model_table(record: Record, *, text_chars: int = MAX_OUTPUT_CHARS) -> dict[str, object]:
    """Return what is told of one model, from what is persisted."""
    current, setback = record.current, record.trouble
    return {
        "model": record.model,
        "stage": record.stage,
        "phase": record.phase.value,
        "rollout": current.rollout if current else None,
        "current": current and current.to_table(),
        "previous": record.previous and record.previous.to_table(),
        "candidate": record.candidate and record.candidate.to_table(),
        "attempts": record.attempt.count if record.attempt else 0,
        "trouble": setback and setback.to_table(min(MAX_REASON_CHARS, text_chars)),
        "hook": record.hook and record.hook.to_table(text_chars),
        "proof": record.proof and record.proof.to_table(),
        "pace_us": record.pace_us,
        "pause_ms": record.pause_ms,
        "refused": [r.to_table(text_chars // MAX_REFUSED) for r in record.refused],
    }


def reported_state(  # noqa: PLR0913 - the parts of a report
    config: Config,
    states: Sequence[ModelState],
    *,
    boot_id: str,
    seq: int,
    at: str,
    onnxruntime: str,
    freshness: Freshness = UNKNOWN,
) -> bytes:
    """Return the retained report. `loaded`: the worker answers with current, right now."""
    text_chars = min(MAX_OUTPUT_CHARS, _TEXT_CHARS // (2 * max(1, len(states))))
    return canonical_json(
        {
            "format": FORMAT,
            "device": config.device,
            "board": config.board,
            "agent": __version__,
            "onnxruntime": onnxruntime,
            "boot_id": boot_id,
            "seq": seq,
            "at": at,
            "fresh_until": freshness.until,
            "stale": freshness.stale,
            "models": [
                {
                    **model_table(state.record, text_chars=text_chars),
                    "loaded": _loaded(state),
                }
                for state in states
            ],
        }
    )


def online(*, boot_id: str, at: str) -> bytes:
    """Return the presence of a device that is here."""
    return canonical_json({"online": True, "boot_id": boot_id, "at": at})


def offline() -> bytes:
    """Return the presence of a device that is gone: its goodbye, and its last will."""
    return canonical_json({"online": False})


def _loaded(state: ModelState) -> bool:
    current = state.record.current
    return current is not None and current.sha256 == state.loaded
