"""How the agent is run: what its children are started with, and how patient it is."""

from dataclasses import dataclass, field

from edgekit_agent.rules.state import Policy
from edgekit_agent.rules.watch import Patience
from edgekit_agent.supervision.lifeline import Lifeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Commands of children, patience, service manager.

    A command is a Python module and the arguments that every child of the kind gets.
    """

    updater: tuple[str, ...]
    proof: tuple[str, ...]
    worker: tuple[str, ...]
    lock: int  # the descriptor that holds the store: passed on to who changes it
    policy: Policy = field(default_factory=Policy)
    patience: Patience = field(default_factory=Patience)
    updater_silent_s: float = 600.0
    proof_silent_s: float = 300.0
    stop_s: float = 8.0
    loop_s: float = 1.0
    watchdog_s: float | None = None
    lifeline: Lifeline | None = None  # with one, the worker runs in this very process
