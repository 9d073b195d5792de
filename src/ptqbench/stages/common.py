"""What every stage's command line shares."""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptqbench.atomic import atomic
from ptqbench.devices import built_for_gpus, check_torch, devices, torch_version
from ptqbench.errors import UserError


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with ``--spec`` (canonical JSON) and ``--out`` (the manifest or file to write)."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--spec", type=json.loads, required=True, help="JSON: the part of the config this depends on")
    made.add_argument("--out", type=Path, required=True)
    return made


@contextmanager
def computing(count: int = 1, whole: bool = False) -> Iterator[str]:
    """Hold GPUs (see :func:`ptqbench.devices.devices`) for torch; what it cannot use is said before work."""
    check_torch()
    if not built_for_gpus(torch_version()):
        yield "cpu"
        return
    with devices(count, whole) as device:
        if device == "cuda":
            import torch

            if torch.cuda.device_count() < count:
                raise UserError(
                    f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}, and torch finds "
                    f"{torch.cuda.device_count()} such GPUs: correct it or the driver, or set it to nothing to compute "
                    "on the CPU"
                )
        yield device


class Meter:
    """Seconds and peak memory of a stage; GPU memory where there is a GPU, resident memory otherwise."""

    def __init__(self, device: str) -> None:
        self.device, self.begun = device, time.monotonic()

    def read(self) -> dict[str, Any]:
        """``seconds``, ``peak_memory_bytes`` and the device they were measured on."""
        if self.device == "cuda":
            import torch

            peak, name = torch.cuda.max_memory_allocated(), torch.cuda.get_device_name()
        else:
            peak, name = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "cpu"
        return {"seconds": time.monotonic() - self.begun, "peak_memory_bytes": peak, "device": name}


def write(file: Path, found: Any) -> None:
    """Write what a :class:`Download` brings."""
    from safetensors.torch import save_file

    with atomic(file) as temporary:
        save_file(found.read(), temporary)
