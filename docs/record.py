"""Record a run in a terminal as text: `python docs/record.py > docs/terminal.md` (minutes; in a folder of its own)."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from codecs import getincrementaldecoder
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = ("run", "pocket-llama", "--methods", "gptq", "--memory", "24GB", "--max-drop", "5%")
SIGNS = re.compile(r"\x1b\[(\d*)[;?\d]*([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Terminal:
    """Lines as a terminal shows them: of its control signs those that move up, to the left, and erase a line."""

    def __init__(self) -> None:
        self.lines, self.row, self.column = [""], 0, 0

    def write(self, text: str) -> None:
        """Show what a program writes."""
        for count, sign, left, down, plain in SIGNS.findall(text):
            if sign == "A":
                self.row = max(0, self.row - int(count or 1))
            elif sign == "K":
                self.lines[self.row] = ""
            elif left:
                self.column = 0
            elif down:
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
            elif plain:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + plain + line[self.column + len(plain) :]
                self.column += len(plain)

    def shown(self) -> str:
        """All lines so far."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip()


def frames(folder: Path, *arguments: str) -> Iterator[str]:
    """What a terminal of 110 columns shows while ``ptqbench`` runs in ``folder``, each time that it writes."""
    ours, theirs = pty.openpty()
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    size = {"COLUMNS": "110", "LINES": "40", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ptqbench", *arguments],
        cwd=folder, env={**os.environ, **size, "PYTHONPATH": path}, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    terminal, text = Terminal(), getincrementaldecoder("utf-8")()
    while chunk := read(ours):
        terminal.write(text.decode(chunk))
        yield terminal.shown()
    if process.wait():
        raise SystemExit(terminal.shown())


def read(terminal: int) -> bytes:
    """What has been written; nothing once the last writer is gone."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ptqbench-") as name:
        folder = Path(name)
        (folder / "pocket-llama").symlink_to(ROOT / "resources/models/pocket-llama")

        def block(text: str, *arguments: str) -> None:
            told = text.replace(str(folder.resolve()), "/tmp/me").replace(str(ROOT), "/opt/ptqbench")
            print(f"```\n$ ptqbench {' '.join(arguments)}\n{told}\n```\n")

        print("# A run in a terminal\n\nRecorded by `python docs/record.py > docs/terminal.md`.\n")
        print("What would run, and why:\n")
        *_, dry = frames(folder, *COMMAND, "-n")
        block(dry, *COMMAND, "-n")
        middle, last = "", ""
        for last in frames(folder, *COMMAND):
            if not middle and re.search(r"^statistics .* block [3-6]/.*\n\d+ of \d+ .* left$", last, re.M):
                middle = last
        print("On the way: what is done, and below it a line for each job that runs and one for the run:\n")
        block(middle, *COMMAND)
        print("At the end:\n")
        block(last, *COMMAND)


if __name__ == "__main__":
    main()
