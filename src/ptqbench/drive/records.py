"""Records of what was done, whose numbers stay on the device until a whole block is read at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ptqbench.fallback import Fallback

FLOORED = 0.01  # of the rounding error: what scales at float16's floor may have without being told
SOUND = 0.01  # of the loss: what a rounding's steps add up to and what its codes have; 1e-4 was the most seen


class Clock:
    """Seconds since it was made, on the device's own time line: nothing waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.begun = self._now()

    def _now(self) -> Any:
        if not self.cuda:
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def lap(self, share: float) -> Lap:
        """A share of the time that passed until now."""
        return Lap(self.begun, self._now(), share)


@dataclass
class Lap:
    """A share of the time between two instants (CUDA events or seconds)."""

    begun: Any
    ended: Any
    share: float

    def seconds(self) -> float:
        """In seconds; of events only once the device has passed both."""
        if isinstance(self.ended, float):
            return (self.ended - self.begun) * self.share
        return self.begun.elapsed_time(self.ended) / 1000 * self.share


def settle(records: list[dict[str, Any]]) -> None:
    """Replace tensors (numbers or lists of numbers) and laps by what they hold, in place: one read of the device."""
    found = [(record, key, value) for record in records for key, value in record.items() if isinstance(value, Tensor)]
    if found:
        flat = torch.cat([value.reshape(-1).double() for _, _, value in found]).tolist()
        for record, key, value in found:
            numbers, flat = flat[: value.numel()], flat[value.numel() :]
            whole = not value.is_floating_point()
            numbers = [int(number) for number in numbers] if whole else numbers
            record[key] = numbers if value.dim() else numbers[0]
    for record in records:
        for key, value in record.items():
            if isinstance(value, Lap):
                record[key] = value.seconds()
        if told := shortcoming(record):
            record.setdefault("fallback", told.as_json())


def shortcoming(record: dict[str, Any]) -> Fallback | None:
    """What a record's numbers say against its linear."""
    if unsound(record):
        off = f"its codes' loss is off by {record['identity_error']:.1%} of what its steps add up to"
        return Fallback("unsound", off)
    if record.get("scale_ceiling", 0.0) > 0:
        return Fallback("clipped", f"{record['scale_ceiling']:.1%} of its scales are at float16's largest, 2^15")
    if record.get("scale_floor", 0.0) > FLOORED:
        return Fallback("coarse", f"{record['scale_floor']:.0%} of its error is of scales at float16's smallest, 2^-14")
    return None


def unsound(record: dict[str, Any]) -> bool:
    """Whether a rounding's steps add up to another loss than its codes have; NaN does not add up."""
    return not record.get("identity_error", 0.0) <= SOUND
