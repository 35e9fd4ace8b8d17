"""Who runs what: one row for each model of each device. Pure, knows no file or broker."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from edgekit.figures import Figures
from edgekit.fleet.book import Known
from edgekit.fleet.model_state import HookRun, ModelState, Refused, Serving
from edgekit.fleet.receipts import UNSIGNED, Signed, compared
from edgekit.telemetry.counts import BundleCounts
from edgekit.telemetry.refusals import labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model on one device.

    `online` None: its presence was never heard. Empty texts: not known. `phase` tells what
    an update is at; `since` is when the version began to serve, UTC. `receipt` tells what
    the device signed about it. `hook`, `proof` and `refused` are as the device reports
    them; docs/formats/device-state.md is their page. `refusals` are of the whole device, in
    all, by reason: what reached no model. `losses`, too: telemetry windows that never
    counted, and those unread as yet, {} where there are none.
    """

    device: str
    board: str
    online: bool | None
    model: str
    stage: str
    version: str
    flavor: str
    sha256: str
    since: str
    phase: str
    rollout: int | None
    trouble: str
    requests: int | None = None
    p95_us: int | None = None
    receipt: Signed = UNSIGNED
    hook: HookRun | None = None
    proof: Figures | None = None
    pace_us: int | None = None
    pause_ms: int | None = None
    refused: tuple[Refused, ...] = ()
    refusals: Mapping[str, int] = field(default_factory=dict)
    losses: Mapping[str, int] = field(default_factory=dict)


def rows(fleet: Iterable[Known]) -> tuple[Row, ...]:
    """Return a row for every model each device was told to follow, or reports."""
    return tuple(row for known in fleet for row in _rows(known))


def _rows(known: Known) -> Iterator[Row]:
    reported = known.report.models if known.report else ()
    states = {(state.model, state.stage): state for state in reported}
    for model, stage in dict.fromkeys((*known.device.models, *states)):
        yield _row(known, model, stage, states.get((model, stage)))


def _row(known: Known, model: str, stage: str, state: ModelState | None) -> Row:
    current = state.current if state else None
    counted = _counted(known, current)
    return Row(
        device=known.device.name,
        board=known.report.board if known.report else known.device.board,
        online=known.presence.online if known.presence else None,
        model=model,
        stage=stage,
        version=current.version if current else "",
        flavor=current.flavor if current else "",
        sha256=current.sha256 if current else "",
        since=current.since if current else "",
        phase=state.phase if state else "",
        rollout=state.rollout if state else None,
        trouble=_trouble(known, state),
        requests=counted.requests if counted else None,
        p95_us=counted.percentile_us(0.95) if counted else None,
        receipt=_receipt(known, state),
        hook=state.hook if state else None,
        proof=state.proof if state else None,
        pace_us=state.pace_us if state else None,
        pause_ms=state.pause_ms if state else None,
        refused=state.refused if state else (),
        refusals=labelled(known.refusals),
        losses=known.losses.counts() if known.losses else {},
    )


def _receipt(known: Known, state: ModelState | None) -> Signed:
    if state is None or known.report is None:
        return UNSIGNED
    key, boot_id = known.device.receipt_key, known.report.boot_id
    return compared(key, known.receipt, state, boot_id=boot_id)


def _counted(known: Known, current: Serving | None) -> BundleCounts | None:
    bundles = known.window.bundles if known.window and current else ()
    return next((one for one in bundles if current and one.sha256 == current.sha256), None)


def _trouble(known: Known, state: ModelState | None) -> str:
    if known.report is None:
        return "never reported"
    if state is None:
        return "not followed by the device; enrolled anew since?"
    if state.trouble is not None:
        return f"{state.trouble.kind}: {state.trouble.reason}"
    if known.report.stale:
        until = known.report.fresh_until
        return f"stale: its signatures expired on {until}, or its clock is wrong"
    return ""
