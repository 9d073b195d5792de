"""Which device a stage runs on, without importing torch before it is chosen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from filelock import FileLock, Timeout

POLL_SECONDS = 2.0
SLOTS = "PTQBENCH_JOBS_PER_GPU"


def visible_gpus() -> list[str]:
    """GPU ids this process may use: ``CUDA_VISIBLE_DEVICES`` if it is set, otherwise every GPU of the driver."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [device for device in chosen.split(",") if device.strip() not in ("", "-1")]
    found = len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) or len(list(Path("/dev").glob("nvidia[0-9]*")))
    return [str(index) for index in range(found)]


def gpu_slots() -> int:
    """How many jobs may share a GPU: ``PTQBENCH_JOBS_PER_GPU``, one by default."""
    return int(os.environ.get(SLOTS, "1"))


@contextmanager
def one_device() -> Iterator[str]:
    """Hold one GPU (or one of its slots) for this process and yield ``"cuda"``; yield ``"cpu"`` where there is none.

    Snakemake counts GPUs but does not assign them, so jobs agree through a lock file per GPU. Small models may share
    one: ``PTQBENCH_JOBS_PER_GPU=4 snakemake --cores all --resources gpu=4``.
    """
    gpus = visible_gpus()
    if not gpus:
        yield "cpu"
        return
    gpu, lock = _first_free(gpus, gpu_slots())
    try:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        yield "cuda"
    finally:
        lock.release()


def _first_free(gpus: list[str], slots: int) -> tuple[str, FileLock]:
    folder = Path(tempfile.gettempdir()) / f"ptqbench-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for slot, gpu in product(range(slots), gpus):
            lock = FileLock(folder / f"{gpu.replace('/', '_')}.{slot}.lock")
            try:
                lock.acquire(timeout=POLL_SECONDS / len(gpus) / slots)
                return gpu, lock
            except Timeout:
                continue
