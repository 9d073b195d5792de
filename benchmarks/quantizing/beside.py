"""What else can be learned of a run: a profile of it, and the peers on the same model."""

from __future__ import annotations

import json
import os
import subprocess
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from quantizing.bench import Bench
from quantizing.clock import sync
from quantizing.shapes import SHAPES, make_model


def profiled(bench: Bench, name: str, run: Callable[[], Iterable[Any]]) -> None:
    """The longest kernels of what ``run`` does, and a table of the slowest calls on the host."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.device.type == "cuda" else [])]
    with profile(activities=activities) as found:
        for _ in run():
            pass
        sync(bench.device)
    key = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
    averages = found.key_averages()
    tables = [
        averages.table(sort_by=order, row_limit=45, max_name_column_width=90) for order in (key, "self_cpu_time_total")
    ]
    folder: Path = bench.args.profiles
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join(tables))


def run_peer(name: str, bench: Bench) -> dict[str, Any]:
    """A peer's seconds per layer of the same model, from its own process, or why there are none."""
    args, warm = bench.args, bench.folder.with_name(f"{bench.shape}-warm")
    if not warm.is_dir():
        make_model(warm, SHAPES[bench.shape][1], 1, bench.device)
    log = args.out.with_name(f"{args.out.stem}.{bench.shape}.{name}.log")
    found = asked(name, bench.folder, args, log, ["--warm", str(warm)])
    if not found:
        print(f"{bench.shape} {name} did not run: see {log}", flush=True)
        return {"row": name, "shape": bench.shape}
    log.unlink()
    seconds, gib = found["s_per_layer"], found["peak_gpu_gib"]
    print(f"{bench.shape} {name} {found['version']}: laps {found['laps']} s, {gib} GiB", flush=True)
    return {
        "row": f"{name} {found['version']}",
        "shape": bench.shape,
        "s_per_layer": seconds,
        "whole_model_s": bench.whole * seconds,
        "peak_gib": gib,
        "layers_measured": len(found["laps"]),
    }


def asked(name: str, model: Path, args: Namespace, log: Path, more: list[str]) -> dict[str, Any]:
    """What a peer says of a model, and ``seconds`` of its whole process; nothing where it did not run: see ``log``."""
    command = [args.peer_python, str(Path(__file__).parents[1] / "peers.py"), name, str(model), *more]
    command += ["--device", args.device, "--samples", str(args.samples), "--length", str(args.length)]
    command += ["--batch-size", str(args.batch_size), "--group-size", str(args.group_size)]
    command += ["--offload", "cuda:0"] if name == "llmcompressor" and args.device == "cuda" else []
    libraries = ":".join(filter(None, (args.peer_path, os.environ.get("LD_LIBRARY_PATH"))))
    env = {**os.environ, "PYTHONPATH": args.peer_path, "LD_LIBRARY_PATH": libraries}
    begun = time.perf_counter()
    with open(log, "w") as stream:
        try:
            subprocess.run(command, env=env, stdout=stream, stderr=stream, timeout=args.peer_seconds, check=False)
        except subprocess.TimeoutExpired:
            print(f"{name} did not finish within {args.peer_seconds:.0f} s", file=stream)
    seconds = time.perf_counter() - begun
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("BENCH ")]
    return {**json.loads(lines[-1].removeprefix("BENCH ")), "seconds": seconds} if lines else {}
