"""What the device says of itself, asked without opening a context on it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ptqbench.evaluation import launcher
from ptqbench.evaluation.faults import text
from ptqbench.models.files import all_weights

GIB = 2**30
WEIGHTS = re.compile(r"Model loading took ([\d.]+) GiB")
CACHE = re.compile(r"Available KV cache memory: ([\d.]+) GiB")


def device_name(device: str) -> str:
    """The GPU's name (``2 x`` it, where two share a model), or ``cpu``."""
    if device != "cuda":
        return "cpu"
    names = _gpus("name")
    return names[0] if len(names) == 1 else f"{len(names)} x {names[0]}"


def server_memory(device: str, log: Path, checkpoint: Path, launcher_pid: int) -> dict[str, float]:
    """Bytes of the ``weights`` as the server loaded them and, at the ``peak``, of all but what it keeps for its cache.

    On a GPU vLLM takes what it is allowed to and gives the rest to the cache, which its log tells the size of; of
    several GPUs, which hold equal parts, the log has one. On a CPU
    the weights are those of the files and the peak is the sum over the server's processes, with as much of the cache
    as was written.
    """
    if device == "cuda":
        content = text(log)
        used = [int(mebibytes) for mebibytes in _gpus("memory.used")]
        weights, cache = (len(used) * float(pattern.findall(content)[-1]) * GIB for pattern in (WEIGHTS, CACHE))
        return {"weights": weights, "peak": sum(used) * 2**20 - cache}
    weights = sum(file.stat().st_size for file in all_weights(checkpoint, f"checkpoint {checkpoint}"))
    peaks = (_peak(Path(f"/proc/{pid}/status")) for pid in launcher.descendants(launcher_pid))
    return {"weights": weights, "peak": sum(peaks)}


def _peak(status: Path) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _gpus(field: str) -> list[str]:
    chosen = os.environ["CUDA_VISIBLE_DEVICES"]  # those of this job: ptqbench.devices has set it
    query = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", "-i", chosen]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()
