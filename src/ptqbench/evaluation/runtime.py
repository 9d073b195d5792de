"""What evaluates on this host: which backend ``auto`` and ``vllm`` mean, and the Python that serves. No torch here."""

from __future__ import annotations

import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ptqbench.devices import visible_gpus
from ptqbench.evaluation.environment import MARKER, is_ready, is_there, lock_digest, read_marker
from ptqbench.manifest import withdraw_damaged
from ptqbench.records import Environment

FOLDERS = {"vllm-cuda": ".venv-serve-cuda", "vllm-cpu": ".venv-serve-cpu"}
LOCKS = {"vllm-cuda": "envs/serve-cuda.txt", "vllm-cpu": "envs/serve-cpu.txt"}
TRANSFORMERS = "transformers"


def meanings(root: Path) -> dict[str, str]:
    """The backends that ``vllm`` and ``auto`` stand for; ``auto`` never builds an environment."""
    vllm = "vllm-cuda" if visible_gpus() else "vllm-cpu"
    present = own_vllm(vllm) is not None or is_ready(root / FOLDERS[vllm], root / LOCKS[vllm])
    return {"vllm": vllm, "auto": vllm if present else TRANSFORMERS}


def settle(config: dict[str, Any], root: Path) -> None:
    """Write the backends out in a run's config, so that they are part of every cache key that they act on.

    Jobs take the config over from their run: on other hosts, too, they mean the same.
    """
    meaning = meanings(root)
    config["backend"] = _meant(config.get("backend", "auto"), meaning)
    suites = config.get("suites")
    for suite in suites.values() if isinstance(suites, dict) else ():  # what is malformed is refused with the schema
        if isinstance(suite, dict) and "backend" in suite:
            suite["backend"] = _meant(suite["backend"], meaning)


def _meant(asked: Any, meaning: dict[str, str]) -> Any:
    return meaning.get(asked, asked) if isinstance(asked, str) else asked


def own_vllm(backend: str) -> str | None:
    """The version of a vLLM for GPUs that this Python itself imports, which then serves."""
    if backend != "vllm-cuda" or find_spec("vllm") is None:
        return None
    try:
        return metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return "unknown"


def environment_marker(backend: str) -> str | None:
    """The file that vouches for the environment a backend needs; None where this Python does."""
    return None if backend not in FOLDERS or own_vllm(backend) else f"{FOLDERS[backend]}/{MARKER}"


def withdraw_gone(root: Path) -> list[str]:
    """Withdraw the markers that are damaged or of environments that were deleted, and say so, a line for each."""
    markers = [root / folder / MARKER for folder in FOLDERS.values()]
    damaged = [line for marker in markers if (line := withdraw_damaged(marker, Environment))]
    gone = [marker for marker in markers if marker.is_file() and not is_there(marker)]
    for marker in gone:
        marker.unlink()
    return damaged + [f"{marker}: the environment that it names is gone" for marker in gone]


def environment_digest(backend: str, root: Path) -> str:
    """What stands for the serving environment in a cache key."""
    if backend == TRANSFORMERS:
        return ""
    version = own_vllm(backend)
    return f"vllm {version}" if version else lock_digest(root / LOCKS[backend])


def server_python(marker: Path | None) -> Path:
    """The Python that runs the server."""
    if marker is None:
        return Path(sys.executable)
    return marker.parent / read_marker(marker)["python"]
