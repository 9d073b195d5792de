"""Progress on the terminal, and plain lines where there is none (a rule's log)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_SECONDS = 10.0  # at most, and every second at first: who looks on sees soon that something happens
SHARE = 0.1  # of the time so far that the next line waits


class Advance(Protocol):
    """Report ``n`` more steps done, with an optional note."""

    def __call__(self, n: int, note: str = "") -> None: ...


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Advance]:
    """Yield ``advance(n, note)``; a bar on a terminal, elsewhere a line now and then, after ten seconds at most."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=total)

            def advance(n: int, note: str = "") -> None:
                bar.update(task, advance=n, description=f"{what} {note}".rstrip())

            yield advance
    else:
        yield _lines(what, total)


def _lines(what: str, total: int) -> Advance:
    begun = last = time.monotonic()
    done = 0

    def advance(n: int, note: str = "") -> None:
        nonlocal last, done
        done += n
        now = time.monotonic()
        if done >= total or now - last > min(LINE_EVERY_SECONDS, max(1.0, SHARE * (now - begun))):
            last = now
            remaining = (now - begun) / max(done, 1) * (total - done)
            print(f"{what} {done}/{total} {note} about {remaining:.0f} s remain", file=sys.stderr, flush=True)

    return advance
