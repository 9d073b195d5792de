"""Digests of whole files that come from outside: models, texts, tasks. Each file is hashed once, and not once a run.

What was hashed is remembered by size, times and inode in a small file of the working directory. A file that was copied
or touched is hashed again, and makes nothing stale where its content is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

MEMORY = "ptqbench-digests.json"  # in the folder of Snakemake's own records
DIGITS = 24  # of sha256, in hexadecimal
THREADS = 4
WORTH_A_WORD = 4 << 30  # bytes: some seconds
SETTLED = 2_000_000_000  # ns: a file that changed later than that before it was read may change again unnoticed

Stamp = list[int]


def digests(files: Iterable[Path], state: Path | None = None) -> dict[Path, str]:
    """24 hex digits of the sha256 of each file's content, remembered in the folder ``state`` if there is one."""
    known = _recall(state)
    stamps = {file: stamp(file) for file in dict.fromkeys(files)}
    found, fresh = {}, []
    for file, now in stamps.items():
        remembered = known.get(os.path.abspath(file))
        if remembered and remembered[1] == now:
            found[file] = remembered[0]
        else:
            fresh.append(file)
    if (total := sum(stamps[file][0] for file in fresh)) > WORTH_A_WORD:
        print(f"Reading {total / 2**30:.0f} GiB to know them again ({fresh[0].parent}), once.", file=sys.stderr)
    begun = time.time_ns()
    with ThreadPoolExecutor(THREADS) as threads:
        found |= dict(zip(fresh, threads.map(digest, fresh), strict=True))
    settled = {
        os.path.abspath(file): [found[file], stamps[file]]
        for file in fresh
        if stamps[file][2] < begun - SETTLED and stamp(file) == stamps[file]
    }
    if settled and state is not None:
        _remember(state, settled)
    return found


def digest(file: Path) -> str:
    """The digest of one file's content."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:DIGITS]


def stamp(file: Path) -> Stamp:
    """What changes with a file's content, whoever writes it: size, times of writing and of any change (ns), inode."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _recall(state: Path | None) -> dict[str, Any]:
    """What is remembered; nothing where the file is damaged or of another form."""
    known = None
    if state is not None:
        with suppress(OSError, ValueError, RecursionError):
            known = json.loads((state / MEMORY).read_text(encoding="utf-8"))
    entries = known.items() if isinstance(known, dict) else ()
    return {name: entry for name, entry in entries if _is_entry(entry)}


def _remember(state: Path, settled: dict[str, Any]) -> None:
    kept = {name: entry for name, entry in _recall(state).items() if os.path.exists(name)}
    temporary = state / f".{MEMORY}.{uuid.uuid4().hex}"  # other jobs may be writing theirs
    with suppress(OSError):  # a folder of another user, a full disk: it will be hashed again
        try:
            temporary.write_text(json.dumps({**kept, **settled}), encoding="utf-8")
            os.replace(temporary, state / MEMORY)
        finally:
            temporary.unlink(missing_ok=True)


def _is_entry(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and len(value[0]) == DIGITS
