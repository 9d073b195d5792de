"""Where lines go: above a live display on a terminal, plainly where there is none."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

QUIET_SECONDS = 60.0  # a log without a line for so long is told what runs
ROWS_BELOW = 4  # of the terminal are left to what was printed before


class Screen:
    """Prints lines; ``below`` gives those that stand under them and change (the last one stands out)."""

    def __init__(self, below: Callable[[], list[str]], *, stdout: bool, color: bool) -> None:
        self.below = below
        stream = sys.stdout if stdout else sys.stderr
        self.console = Console(file=stream, no_color=not color, highlight=False, soft_wrap=True)
        self.live: Live | None = None
        self.stopped, self.spoken = threading.Event(), threading.Event()

    def begin(self) -> None:
        """Show what changes: redrawn on a terminal, told every minute of silence elsewhere."""
        if self.live is not None or self.stopped.is_set():
            return
        self.live = Live(
            get_renderable=self._drawn,
            console=self.console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            auto_refresh=self.console.is_terminal,
        )
        if self.console.is_terminal:
            self.live.start()
        else:
            threading.Thread(target=self._tell, daemon=True).start()

    def say(self, *lines: str, style: str = "") -> None:
        """Print lines for good."""
        for line in lines:
            self.console.print(Text(line, style=style))
        self.spoken.set()

    def end(self) -> None:
        """Take what changes away, and leave the terminal as it was."""
        self.stopped.set()
        if self.live is not None:
            self.live.stop()

    def _drawn(self) -> Text:
        *jobs, run = self.below()
        room = max(1, self.console.height - ROWS_BELOW)
        if len(jobs) > room:
            jobs = [*jobs[: room - 1], f"and {len(jobs) - room + 1} more"]
        drawn = Text("\n".join(["", *jobs]), overflow="ellipsis", no_wrap=True)
        return drawn.append(f"\n{run}", style="bold")

    def _tell(self) -> None:
        while not self.stopped.wait(QUIET_SECONDS):
            if not self.spoken.is_set():
                *jobs, run = self.below()
                self.say(f"{run} · now: {'; '.join(jobs)}" if jobs else run)
            self.spoken.clear()
