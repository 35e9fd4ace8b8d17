"""Ask this device what it has for a bundle: its limits, its disk, its memory, its CPU."""

from edgekit.trust.vouched import Vouched
from edgekit_agent import machine, memory
from edgekit_agent.config import Config
from edgekit_agent.storage.store import Store
from edgekit_agent.update.admission import Room


def measured(settings: Config, store: Store, vouched: Vouched) -> Room:
    """Return what there is right now, and how much of each offered bundle is here."""
    limits = settings.limits
    return Room(
        board=settings.board,
        isas=machine.isas(),
        onnxruntime=machine.onnxruntime(),
        model_ram_bytes=limits.model_ram_bytes,
        model_flash_bytes=limits.model_flash_bytes,
        used_bytes=store.used_bytes(),
        free_bytes=store.free_bytes(),
        available_bytes=memory.available_bytes(),
        held={e.sha256: store.held_bytes(e.sha256) for e in vouched.entries},
    )
