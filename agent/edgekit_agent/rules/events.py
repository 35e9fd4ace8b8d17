"""What can happen to one model on a device, and what the agent does about it.

Only names: edgekit_agent.rules.step decides, edgekit_agent.supervision.steward brings
the events and carries out the actions.
"""

from dataclasses import dataclass

from edgekit.figures import Figures
from edgekit_agent.rules.hook import Answer, Hook
from edgekit_agent.rules.record import Release

# --- what happens ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The agent began to run, after a boot, a kill or an orderly stop.

    `crash` says how what served took the agent with it the last time; "" where it did not.
    `by` is the digest of the bundle that is known to be to blame, "" where none is.
    """

    crash: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Online:
    """The broker can be reached (again)."""


@dataclass(frozen=True, slots=True)
class Offline:
    """The broker cannot be reached."""


@dataclass(frozen=True, slots=True)
class Announced:
    """The repository has something new for somebody."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The updater knows, verified, what this device should run, and waits for an answer.

    `stored`: the bundle is already on the disk, whole and verified.
    """

    release: Release
    stored: bool


@dataclass(frozen=True, slots=True)
class NothingReleased:
    """The stage points at no version of this model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The bundle is on the disk, verified and unpacked."""

    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFailed:
    """The updater gave up. `error` is the class of the error.

    `final`: what arrived is what was signed, and must not run all the same; no further
    attempt can end differently until the pointer changes.
    """

    error: str
    reason: str
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """The candidate gives the golden outputs on this very device, within its limits."""

    sha256: str
    figures: Figures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRefused:
    """The candidate ran here and was found wrong."""

    sha256: str
    error: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofBroke:
    """The proof gave no verdict: it crashed, hung, or its files are damaged."""

    sha256: str
    error: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswered:
    """A hook ended, or there is none (`ran` is false).

    `sha256` is of the bundle it was asked about, `reason` its last line, `again_s` when a
    "not now" wants to be asked again, `output` the end of all it printed.
    """

    hook: Hook
    sha256: str
    answer: Answer
    reason: str = ""
    again_s: int = 0
    output: str = ""
    took_ms: int = 0
    ran: bool = True


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker runs and serves nothing yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The worker answers requests with this bundle; they waited `pause_ms` for it."""

    sha256: str
    pause_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFailed:
    """The worker could not load this bundle and serves what it served before."""

    sha256: str
    error: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDied:
    """The worker crashed, hung or was killed; it serves nothing.

    `by` is the digest of the bundle that is known to be to blame, "" where none is.
    """

    reason: str
    by: str = ""


Event = (
    Started
    | Online
    | Offline
    | Announced
    | Ticked
    | Resolved
    | NothingReleased
    | Fetched
    | UpdateFailed
    | Proved
    | ProofRefused
    | ProofBroke
    | HookAnswered
    | WorkerReady
    | Loaded
    | LoadFailed
    | WorkerDied
)

# --- what to do ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartUpdate:
    """Run an updater: refresh, resolve, and ask before it fetches."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """Tell the updater to fetch what it resolved."""


@dataclass(frozen=True, slots=True)
class StopUpdate:
    """End the updater; what it verified stays on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prove:
    """Run the proof of a stored bundle."""

    release: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHook:
    """Run a program of the device's owner, if there is one, and bring its answer.

    `release` is what is to serve, or serves now; `instead_of` what serves, or served.
    """

    hook: Hook
    release: Release
    instead_of: Release | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Have the worker load a stored bundle and swap to it."""

    release: Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Delete a bundle that the disk damaged."""

    sha256: str


@dataclass(frozen=True, slots=True)
class Collect:
    """Delete what no model needs any more."""


Action = StartUpdate | Proceed | StopUpdate | Prove | RunHook | Load | Discard | Collect
