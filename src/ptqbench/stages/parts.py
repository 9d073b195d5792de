"""A cell of which several jobs quantize a range of blocks each, and the one that makes it whole."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path
from typing import Any

from ptqbench.manifest import verify
from ptqbench.records import Codes

SHARED = ("config", "widths", "device", "float_bytes", "added_bytes")  # of the whole cell, in every part's record


def span(part: int, parts: int, n_blocks: int) -> range:
    """The blocks of a part (from 0); parts differ by one block at most."""
    return range(n_blocks * part // parts, n_blocks * (part + 1) // parts)


def gather(parts: list[Path], folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """Link the files of all parts into ``folder``; returns them and the record that one job would have written.

    Seconds are those of all parts together, memory is that of the part that needed most.
    """
    found = [(part.parent, verify(part, Codes)) for part in parts]
    files = [_linked(source / name, folder / name) for source, content in found for name in content["files"]]
    contents: list[Any] = [content for _, content in found]
    record: dict[str, Any] = {key: contents[0][key] for key in SHARED}
    for key in ("layers", "transforms"):
        record[key] = list(chain.from_iterable(content[key] for content in contents))
    for key in ("packed_bytes", "n_weights", "seconds"):
        record[key] = sum(content[key] for content in contents)
    record["peak_memory_bytes"] = max(content["peak_memory_bytes"] for content in contents)
    return files, record


def _linked(source: Path, target: Path) -> Path:
    target.unlink(missing_ok=True)
    os.link(source, target)
    return target
