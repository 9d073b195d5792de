"""Work that overlaps with computing: what comes next is read and copied to the device, what is done is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(load: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map(load, items)``, the next result made by a thread while the caller works with the present one."""
    with ThreadPoolExecutor(1) as thread:
        waiting: list[Future[Result]] = []
        for item in items:
            waiting.append(thread.submit(load, item))
            if len(waiting) == 2:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


def brought(
    load: Callable[[Item], dict[str, Tensor]], items: Iterable[Item], device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """The tensors of each item on the device, the next item's on their way meanwhile; they may be freed at any time.

    Whoever takes them without :func:`received` and frees them lets the next item's be written over them, while what
    was asked to read them still waits for its turn.
    """
    for tensors in ahead(lambda item: upload(load(item), device), items):
        yield received(tensors)


class Background:
    """Calls made by one thread in their order; one may wait while another runs, then the caller does."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._waiting: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call ``function`` later; raises here what an earlier call raised."""
        while len(self._waiting) > 1:
            self._waiting.pop(0).result()
        self._waiting.append(self._thread.submit(function, *arguments))

    def __enter__(self) -> Background:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)
        if kind is None:
            for future in self._waiting:
                future.result()


@cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of copies between a GPU and the host, beside the one that computes."""
    return torch.cuda.Stream(device)


def upload(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tensors on the device (numbers stay on the host) once all have arrived; for a thread beside the computing one."""
    if device.type != "cuda":
        return dict(tensors)
    stream = copy_stream(device)
    with torch.cuda.stream(stream):
        moved = {
            name: tensor.pin_memory().to(device, non_blocking=True) if tensor.dim() else tensor
            for name, tensor in tensors.items()
        }
    stream.synchronize()
    return moved


def received(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tell the allocator that the computing stream uses what another stream brought."""
    for tensor in tensors.values():
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
    return tensors


class Download:
    """Tensors on their way to the host: made by the computing thread, read by another one."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.device = next((tensor.device for tensor in tensors.values() if tensor.is_cuda), None)
        self.made = torch.cuda.current_stream(self.device).record_event() if self.device else None

    def read(self) -> dict[str, Tensor]:
        """The tensors on the host, contiguous."""
        if self.device is None or self.made is None:
            return {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        stream = copy_stream(self.device)
        stream.wait_event(self.made)
        with torch.cuda.stream(stream):
            host = {name: self._copied(tensor) for name, tensor in self.tensors.items()}
        stream.synchronize()
        self.tensors = {}
        return host

    @staticmethod
    def _copied(tensor: Tensor) -> Tensor:
        if not tensor.is_cuda:
            return tensor.contiguous()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)
