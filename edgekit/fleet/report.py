"""What a device says about itself: reported state, presence, telemetry windows.

Pure: JSON bytes in, frozen values out. Devices are not trusted to be well: whatever is
oversize, malformed or not printable is refused with TransportError, which the book
counts. docs/formats/wire.md is the page of these messages; fields that it does not know
are no error, and the book keeps the bytes as they came.
"""

from dataclasses import dataclass

from edgekit.document import Reader
from edgekit.errors import TransportError

FORMAT = 1
MAX_BYTES = 64 * 1024
MAX_MODELS = 64
MAX_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A bundle that a device serves, or served. `since` is UTC, "" where unknown."""

    version: str
    flavor: str
    sha256: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A device's last setback with a model."""

    kind: str
    error: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """Where a device stands with one model. `rollout` None: it has seen no pointer yet."""

    model: str
    stage: str
    phase: str
    rollout: int | None
    current: Serving | None
    previous: Serving | None
    candidate: Serving | None
    attempts: int
    trouble: Trouble | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A device's reported state; `seq` counts its reports since `boot_id` began.

    `stale`: the signatures it knows have expired on `fresh_until`, by its clock.
    """

    device: str
    board: str
    agent: str
    onnxruntime: str
    boot_id: str
    seq: int
    at: str
    models: tuple[ModelState, ...]
    fresh_until: str = ""
    stale: bool = False

    @classmethod
    def from_json(cls, payload: bytes) -> "Report":
        """Parse, or raise TransportError."""
        reader = _reader(payload, "reported state")
        models = reader.children("models", optional=True)
        if len(models) > MAX_MODELS:
            reader.fail("models", f"a list of up to {MAX_MODELS} objects")
        return cls(
            device=_text(reader, "device"),
            board=_text(reader, "board", ""),
            agent=_text(reader, "agent", ""),
            onnxruntime=_text(reader, "onnxruntime", ""),
            boot_id=_text(reader, "boot_id"),
            seq=reader.integer("seq"),
            at=_text(reader, "at"),
            models=tuple(map(_model, models)),
            fresh_until=_optional_text(reader, "fresh_until"),
            stale=reader.flag("stale", default=False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether a device is connected; a last will does not know the rest."""

    online: bool
    boot_id: str
    at: str

    @classmethod
    def from_json(cls, payload: bytes) -> "Presence":
        """Parse, or raise TransportError."""
        reader = _reader(payload, "presence")
        return cls(
            online=reader.flag("online"),
            boot_id=_text(reader, "boot_id", ""),
            at=_text(reader, "at", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWindow:
    """What one bundle answered in a window. Latencies are of whole requests."""

    model: str
    version: str
    flavor: str
    sha256: str
    requests: int
    rows: int
    errors: int
    schema_violations: int
    p50_us: int
    p95_us: int
    p99_us: int
    max_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A device's metrics between two moments; (boot_id, seq) names it for ever."""

    device: str
    boot_id: str
    seq: int
    start: str
    end: str
    supervisor_rss_bytes: int
    worker_rss_bytes: int
    models: tuple[ModelWindow, ...]

    @classmethod
    def from_json(cls, payload: bytes) -> "Window":
        """Parse, or raise TransportError."""
        reader = _reader(payload, "telemetry")
        models = reader.children("models", optional=True)
        if len(models) > MAX_MODELS:
            reader.fail("models", f"a list of up to {MAX_MODELS} objects")
        return cls(
            device=_text(reader, "device"),
            boot_id=_text(reader, "boot_id"),
            seq=reader.integer("seq"),
            start=_text(reader, "start"),
            end=_text(reader, "end"),
            supervisor_rss_bytes=reader.integer("supervisor_rss_bytes", 0),
            worker_rss_bytes=reader.integer("worker_rss_bytes", 0),
            models=tuple(map(_model_window, models)),
        )


def _reader(payload: bytes, subject: str) -> Reader:
    if len(payload) > MAX_BYTES:
        raise TransportError(
            f"{subject}: {len(payload)} bytes, up to {MAX_BYTES} are expected"
        )
    reader = Reader.from_json(payload, subject=subject, error=TransportError)
    reader.integer("format", FORMAT, least=FORMAT)
    return reader


def _text(reader: Reader, key: str, default: str | None = None) -> str:
    """Return a text that is safe to print on the operator's terminal."""
    text = reader.text(key, default)
    if len(text) > MAX_CHARACTERS or not text.isprintable():
        reader.fail(key, f"a printable text of up to {MAX_CHARACTERS} characters")
    return text


def _optional_text(reader: Reader, key: str) -> str:
    return "" if reader.table.get(key) is None else _text(reader, key)


def _model(reader: Reader) -> ModelState:
    rollout = reader.table.get("rollout")
    return ModelState(
        model=_text(reader, "model"),
        stage=_text(reader, "stage"),
        phase=_text(reader, "phase"),
        rollout=None if rollout is None else reader.integer("rollout"),
        current=_serving(reader, "current"),
        previous=_serving(reader, "previous"),
        candidate=_serving(reader, "candidate"),
        attempts=reader.integer("attempts", 0),
        trouble=_trouble(reader),
    )


def _serving(reader: Reader, key: str) -> Serving | None:
    if reader.table.get(key) is None:
        return None
    inner = reader.child(key)
    since = inner.table.get("since")
    return Serving(
        version=_text(inner, "version"),
        flavor=_text(inner, "flavor"),
        sha256=inner.sha256("sha256"),
        since="" if since is None else _text(inner, "since"),
    )


def _trouble(reader: Reader) -> Trouble | None:
    if reader.table.get("trouble") is None:
        return None
    inner = reader.child("trouble")
    reason = inner.text("reason", "")[:MAX_CHARACTERS]
    return Trouble(
        kind=_text(inner, "kind"),
        error=_text(inner, "error", ""),
        reason="".join(c if c.isprintable() else " " for c in reason),
        at=_text(inner, "at", ""),
    )


def _model_window(reader: Reader) -> ModelWindow:
    latency = reader.child("latency_us", optional=True)
    return ModelWindow(
        model=_text(reader, "model"),
        version=_text(reader, "version"),
        flavor=_text(reader, "flavor"),
        sha256=reader.sha256("sha256"),
        requests=reader.integer("requests"),
        rows=reader.integer("rows", 0),
        errors=reader.integer("errors", 0),
        schema_violations=reader.integer("schema_violations", 0),
        p50_us=latency.integer("p50", 0),
        p95_us=latency.integer("p95", 0),
        p99_us=latency.integer("p99", 0),
        max_us=latency.integer("max", 0),
    )
