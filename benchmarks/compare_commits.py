"""Whether two commits made the same: ``python benchmarks/compare_commits.py before after``.

Both are working directories after a finished run of the same config. Compared are, cell by cell and to the bit, the
tensors of checkpoints, what is recorded of every linear, and scores with those of every item. Prints a line for each
difference; the exit status is 1 where there is one, or where nothing can be compared. Reads no code of either commit.

Give Snakemake the same ``--cores`` in both: on a CPU the pass over the float model takes as many threads, and the order
of its sums changes with them (1e-7 of H, and a few codes in ten thousand, where two are nearly as good).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

TIMES = ("seconds",)  # of a linear's record: what another run changes


def differences(before: Path, after: Path) -> Iterator[str]:
    """A line for each artifact that only one has, and for each that differs."""
    for kind, compare in (("quantized", layers), ("packed", tensors), ("eval", scores)):
        names = [artifacts(root / "results" / kind, kind) for root in (before, after)]
        for name in sorted(names[0] ^ names[1]):
            yield f"{kind} {name}: only {'before' if name in names[0] else 'after'}"
        for name in sorted(names[0] & names[1]):
            files = [root / "results" / kind / name for root in (before, after)]
            yield from (f"{kind} {name}: {said}" for said in compare(*files))


def artifacts(root: Path, kind: str) -> set[str]:
    """The records of one kind, by their paths in its folder."""
    pattern = "*/*/*/*/*.json" if kind == "eval" else "*/*/*/*/manifest.json"
    return {file.relative_to(root).as_posix() for file in root.glob(pattern) if not file.name.startswith(".")}


def layers(before: Path, after: Path) -> Iterator[str]:
    """What is recorded of each linear, and how much it moved where it did."""
    one, other = ({row["linear"]: row for row in read(file)["layers"]} for file in (before, after))
    if one.keys() != other.keys():
        yield f"{len(one)} linears before, {len(other)} after"
    moved: dict[str, list[float]] = {}
    for linear in one.keys() & other.keys():
        for key in (one[linear].keys() | other[linear].keys()) - set(TIMES):
            old, new = one[linear].get(key), other[linear].get(key)
            if not equal(old, new):
                moved.setdefault(key, []).append(relative(old, new))
    for key, by in sorted(moved.items()):
        yield f"{key} of {len(by)} of {len(one)} linears, by {max(by):.3g} of it at most"


def tensors(before: Path, after: Path) -> Iterator[str]:
    """The tensors of a checkpoint: none but those of files whose digests differ are read."""
    one, other = (read(file)["files"] for file in (before, after))
    weights = {name for name in one.keys() | other.keys() if name.endswith(".safetensors")}
    unequal = {name for name in weights if one.get(name) != other.get(name)}
    found = [stored(file.parent, files.keys() & unequal) for file, files in ((before, one), (after, other))]
    for name in sorted(found[0].keys() ^ found[1].keys()):
        yield f"tensor {name}: only {'before' if name in found[0] else 'after'}"
    for name in sorted(found[0].keys() & found[1].keys()):
        old, new = (load(*of[name]) for of in found)
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            yield f"tensor {name}: {old.dtype} {list(old.shape)} before, {new.dtype} {list(new.shape)} after"
        elif not torch.equal(old.contiguous().view(torch.uint8), new.contiguous().view(torch.uint8)):
            yield f"tensor {name}: {int((old != new).sum())} of {old.numel()} values"


def scores(before: Path, after: Path) -> Iterator[str]:
    """Every number of every row of a result."""
    one, other = ({(row["task"], row["metric"]): row for row in read(file)["rows"]} for file in (before, after))
    for task, metric in sorted(one.keys() ^ other.keys()):
        yield f"{metric} of {task}: only {'before' if (task, metric) in one else 'after'}"
    for task, metric in sorted(one.keys() & other.keys()):
        old, new = one[task, metric], other[task, metric]
        keys = sorted(key for key in old.keys() | new.keys() if not equal(old.get(key), new.get(key)))
        if keys:
            yield f"{metric} of {task}: {old['value']:.6g} before, {new['value']:.6g} after ({', '.join(keys)} differ)"


def stored(folder: Path, files: set[str]) -> dict[str, tuple[Path, str]]:
    """Where each tensor of some files is."""
    found: dict[str, tuple[Path, str]] = {}
    for name in files:
        with safe_open(folder / name, "pt") as opened:
            found |= {tensor: (folder / name, tensor) for tensor in opened.keys()}  # noqa: SIM118 (it is no dict)
    return found


def load(file: Path, name: str) -> torch.Tensor:
    with safe_open(file, "pt") as opened:
        tensor: torch.Tensor = opened.get_tensor(name)
        return tensor


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def equal(one: Any, other: Any) -> bool:
    """Equal to the bit; NaN is NaN."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def relative(one: Any, other: Any) -> float:
    """How far numbers are apart, as a share of the larger; infinite for what is no number, or another count of them."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(relative, one, other), default=0.0)
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in (one, other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other)) if one != other else 0.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    args = parser.parse_args(argv)
    counts = {kind: len(artifacts(args.before / "results" / kind, kind)) for kind in ("quantized", "packed", "eval")}
    if not all(counts.values()):
        print(f"{args.before}: no finished run: {counts}")
        return 1
    found = list(differences(args.before, args.after))
    print("\n".join([*found, f"{len(found)} differences in {counts}"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
