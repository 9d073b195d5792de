"""Stop a process of the workflow just before it gives a file its final name, so that a test can kill it there.

Python imports this file by itself when its folder is on PYTHONPATH. PAUSE_BEFORE is a pattern for the file's path,
PAUSE_MARKER a file that is made when the time has come, PAUSE_UNTIL one whose appearance ends the pause.
"""

import os
import sys
import time
from fnmatch import fnmatch
from pathlib import Path


def _pause(event: str, arguments: tuple) -> None:
    if event == "os.rename" and fnmatch(str(arguments[1]), os.environ["PAUSE_BEFORE"]):
        Path(os.environ["PAUSE_MARKER"]).write_text(str(arguments[1]))
        while not Path(os.environ["PAUSE_UNTIL"]).exists():
            time.sleep(0.05)


if "PAUSE_BEFORE" in os.environ:
    sys.addaudithook(_pause)
