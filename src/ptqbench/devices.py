"""Which device a stage runs on, without importing torch before it is chosen."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from filelock import FileLock, Timeout

from ptqbench.errors import UserError

POLL_SECONDS = 2.0
SLOTS = "PTQBENCH_JOBS_PER_GPU"


def visible_gpus() -> list[str]:
    """GPU ids this process may use: ``CUDA_VISIBLE_DEVICES`` if it is set, otherwise every GPU of the driver."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [device for device in chosen.split(",") if device.strip() not in ("", "-1")]
    found = len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) or len(list(Path("/dev").glob("nvidia[0-9]*")))
    return [str(index) for index in range(found)]


def check_torch() -> None:
    """Raise :class:`UserError` where ``CUDA_VISIBLE_DEVICES`` names GPUs that this torch was not built for."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") and visible_gpus() and not built_for_gpus(torch_version()):
        raise UserError(
            f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}, and the installed torch computes on no "
            "GPU: install a build with CUDA, or set CUDA_VISIBLE_DEVICES to nothing to compute on the CPU"
        )


def torch_version() -> str:
    """torch's ``version.py``, not imported: that takes seconds. Nothing where there is no torch."""
    found = find_spec("torch")
    return "" if found is None else (Path(found.origin or "").parent / "version.py").read_text(encoding="utf-8")


def built_for_gpus(version: str) -> bool:
    """Whether ``version.py`` names the CUDA or ROCm that torch was built with."""
    return re.search(r"^(cuda|hip)\b.*= *['\"]", version, re.MULTILINE) is not None


def gpu_slots() -> int:
    """How many jobs may share a GPU: ``PTQBENCH_JOBS_PER_GPU``, one by default."""
    return int(os.environ.get(SLOTS, "1"))


@contextmanager
def one_device(whole: bool = False) -> Iterator[str]:
    """Hold one GPU (or one of its slots): see :func:`devices`."""
    with devices(1, whole) as device:
        yield device


@contextmanager
def devices(count: int = 1, whole: bool = False) -> Iterator[str]:
    """Hold ``count`` GPUs for this process and yield ``"cuda"``; yield ``"cpu"`` where there is none.

    Snakemake counts GPUs but does not assign them, so jobs agree through a lock file per GPU. Small models may share
    one: ``PTQBENCH_JOBS_PER_GPU=4 snakemake --cores all``. ``whole`` waits for every slot: who measures speed, or takes
    several GPUs, shares with nobody. Raises :class:`UserError` where fewer are visible.
    """
    gpus = visible_gpus()
    if not gpus:
        yield "cpu"
        return
    if count > len(gpus):
        raise UserError(f"{count} GPUs are asked for and {len(gpus)} are visible: lower `gpus` of the model")
    with ExitStack() as held:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(_taken(held, gpus, count, whole or count > 1))
        yield "cuda"


def _taken(held: ExitStack, gpus: list[str], count: int, whole: bool) -> list[str]:
    """The GPUs that ``held`` holds from now on."""
    slots, chosen = gpu_slots(), set[str]()
    with ExitStack() as turn:
        if count > 1:  # one at a time gathers several, so that no two wait for what the other has
            turn.enter_context(_lock("several", 0))
        while len(chosen) < count:
            gpu, first = _first_free([gpu for gpu in gpus if gpu not in chosen], 1 if whole else slots)
            held.callback(first.release)
            for slot in range(1, slots if whole else 1):  # in order, so that two who want all never wait for each other
                held.enter_context(_lock(gpu, slot))
            chosen.add(gpu)
    return [gpu for gpu in gpus if gpu in chosen]


def _first_free(gpus: list[str], slots: int) -> tuple[str, FileLock]:
    while True:
        for slot, gpu in product(range(slots), gpus):
            lock = _lock(gpu, slot)
            try:
                lock.acquire(timeout=POLL_SECONDS / len(gpus) / slots)
                return gpu, lock
            except Timeout:
                continue


def _lock(gpu: str, slot: int) -> FileLock:
    folder = Path(tempfile.gettempdir()) / f"ptqbench-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return FileLock(folder / f"{gpu.replace('/', '_')}.{slot}.lock")
