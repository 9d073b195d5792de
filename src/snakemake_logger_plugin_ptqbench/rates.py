"""What jobs of each rule took in earlier runs, in a small file beside Snakemake's own records."""

from __future__ import annotations

import json
import os
from pathlib import Path

WEIGHT = 0.3  # of a run's mean against what was known before


def read_rates(file: Path) -> dict[str, float]:
    """Rule to seconds; nothing where no run was finished here, or where the file cannot be read as one of these."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(rule): float(seconds) for rule, seconds in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):  # a hint about time is never a reason to stop
        return {}


def blended(known: dict[str, float], taken: dict[str, list[float]]) -> dict[str, float]:
    """``known`` with the mean of what the jobs of a run took."""
    found = dict(known)
    for rule, seconds in taken.items():
        mean = sum(seconds) / len(seconds)
        found[rule] = mean if rule not in known else (1 - WEIGHT) * known[rule] + WEIGHT * mean
    return found


def write_rates(file: Path, rates: dict[str, float]) -> None:
    """Replace the file in one step."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps({rule: round(rate, 3) for rule, rate in sorted(rates.items())}), encoding="utf-8")
    temporary.replace(file)
