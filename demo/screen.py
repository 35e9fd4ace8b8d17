"""The live table: devices, versions, flavors, latency, accuracy. Draws, decides nothing.

On a terminal one table is redrawn in place; elsewhere a line is printed when a row changes.
"""

from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.asking import Asker
from edgekit.fleet.status import Row

PIPED_COLUMNS = 110


class Screen:
    """Shows the fleet while the story goes on."""

    def __init__(self, askers: Mapping[str, Asker]) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=PIPED_COLUMNS)
        self._askers = askers
        self._last: dict[str, str] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin the live table, on a terminal."""
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End it, leaving the last state on the screen."""
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Tell what happens next."""
        self.console.print(text, markup=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Begin a chapter."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def show(self, rows: tuple[Row, ...]) -> None:
        """Draw the fleet as it is reported now."""
        if self._live:
            self._live.update(self.table(rows))
            return
        for row in rows:
            line = f"{row.device:<10} {row.version or '-':>2} {row.flavor:<14} {row.phase}"
            line += f"  {row.trouble}" if row.trouble and row.version else ""
            if self._last.get(row.device) != line:
                self._last[row.device] = line
                self.say(f"  {line}")

    def table(self, rows: tuple[Row, ...]) -> Table:
        """Return the table of the fleet."""
        table = Table(title="the fleet, live", title_justify="left")
        for name in ("device", "board", "version", "flavor", "phase"):
            table.add_column(name)
        for name in ("answered", "p50 ms", "accuracy", "lost"):
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(
                row.device,
                row.board,
                row.version or "-",
                row.flavor or "-",
                row.phase or "-",
                *self._figures(row),
            )
        return table

    def _figures(self, row: Row) -> tuple[str, str, str, str]:
        asker = self._askers[row.device]
        score = asker.scores.get(row.version)
        if score is None:
            return str(asker.answered), "-", "-", str(asker.lost)
        return (
            str(asker.answered),
            f"{score.p50_us / 1000:.2f}",
            f"{score.accuracy:.3f}",
            str(asker.lost),
        )
