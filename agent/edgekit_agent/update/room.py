"""Ask this device what it has for a bundle: its limits, its disk, its memory, its CPU."""

from edgekit.trust.vouched import Vouched
from edgekit_agent import machine, memory
from edgekit_agent.config import Config
from edgekit_agent.rules.record import Record
from edgekit_agent.storage.store import Store
from edgekit_agent.update.admission import Room
from edgekit_agent.update.need import session_bytes


def measured(settings: Config, store: Store, vouched: Vouched) -> Room:
    """Return what there is right now, and how much of each offered bundle is here.

    What this process takes counts as free: it has ended when the proof begins.
    """
    limits = settings.limits
    model = vouched.pointer.model
    own = store.load(settings.subscription(model))
    return Room(
        board=settings.board,
        isas=machine.isas(),
        onnxruntime=machine.onnxruntime(),
        model_ram_bytes=limits.model_ram_bytes,
        model_flash_bytes=limits.model_flash_bytes,
        used_bytes=store.used_bytes(),
        free_bytes=store.free_bytes(),
        available_bytes=memory.available_bytes() + memory.anonymous_bytes(),
        own_ram_bytes=settings.ram_bytes(model),
        own_flash_bytes=settings.flash_bytes(model),
        own_used_bytes=store.held_bytes(*own.needed),
        neighbours={
            other.model: taken
            for other in settings.models
            if other.model != model and (taken := _taken(store, store.load(other)))
        },
        held={e.sha256: store.held_bytes(e.sha256) for e in vouched.entries},
    )


def _taken(store: Store, record: Record) -> int:
    """Return what a model takes in the worker besides onnxruntime, or is about to."""
    releases = (record.current, record.candidate)
    return max((session_bytes(store, r.sha256) for r in releases if r), default=0)
