"""Compiled modules for jobs of a host whose packages come without: each job would compile torch and transformers anew.

That is 2 seconds of every job that imports torch and 5 of one that imports transformers (images without ``.pyc`` files,
``PYTHONDONTWRITEBYTECODE``). Python then keeps them in the user's cache, once for all jobs and working directories.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "torch"


def settings(package: str = PACKAGE) -> dict[str, str]:
    """What a job's environment says besides; nothing where the package's bytecode is in its place."""
    spec = find_spec(package)
    if spec is None or spec.origin is None or compiled(Path(spec.origin)):
        return {}
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {"PYTHONPYCACHEPREFIX": str(base / "ptqbench/bytecode"), "PYTHONDONTWRITEBYTECODE": ""}


def compiled(file: Path) -> bool:
    """Whether this Python finds a module's bytecode beside it."""
    return (file.parent / "__pycache__" / f"{file.stem}.{sys.implementation.cache_tag}.pyc").is_file()
