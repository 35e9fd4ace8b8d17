"""What became of what devices sent as telemetry: heard, refused, lost, or put by. Data."""

from dataclasses import dataclass

from edgekit.telemetry.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What became of the bytes that a device sent as a window; `sha256` is theirs.

    `window` None: they could not be read. `kept`: the book has them, since now or before.
    `refused`: why they will never count, "" where they do or may. What is neither kept nor
    refused is not answered: it waits on its device.
    """

    device: str
    sha256: str
    window: Window | None = None
    kept: bool = False
    news: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """How many windows of one device never counted, as far as it could tell, and that wait.

    `dropped` for want of space, `corrupt` on its disk, `refused` by this fleet. `unread`
    are here, and a newer edgekit will count them.
    """

    device: str
    dropped: int = 0
    corrupt: int = 0
    refused: int = 0
    unread: int = 0

    def counts(self) -> dict[str, int]:
        """Return all four by name."""
        return {
            "dropped": self.dropped,
            "corrupt": self.corrupt,
            "refused": self.refused,
            "unread": self.unread,
        }
