"""Which gptq checkpoints does vLLM read right? Random Llamas of several widths, beside their dequantized twins.

    PYTHONPATH=src:tests python tests/gpu/sweep.py [--cases 12] [--seconds 110] [--out FILE.csv]

On one GPU, with a vLLM of this Python (or ``--python`` that of another). The table is written after every checkpoint,
the telling ones first; another run takes the next ones. ``served`` is the mean of ``|Δ log p|`` over
tokens between vLLM and the twin in transformers (float32), ``shifted`` the same for a twin whose zero-points are one
higher, which is what a reader that takes one version for the other computes; ``float`` that of the unquantized model.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from codes import write_packed
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from ptqbench.devices import visible_gpus
from ptqbench.evaluation.backends.vllm import STARTUP
from ptqbench.formats.layout import Layout

VOCABULARY, LENGTH, PROMPTS = 512, 64, 4
OUT = Path("reports/serving/gptq-sweep.csv")
ANY = {"dtype": "bfloat16", "max_model_len": LENGTH + 1, "max_num_seqs": PROMPTS, "gpu_memory_utilization": 0.05}
GPU = {**ANY, "kv_cache_memory_bytes": 2**28}  # fixed: other jobs may take and free memory meanwhile
CPU = {**ANY, "distributed_executor_backend": "uni", "gpu_memory_utilization": 0.2}
VARIABLES = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
ON_A_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_INT4_W4A8": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "PYTHONPATH": str(STARTUP),
}


@dataclass(frozen=True)
class Case:
    """A checkpoint: the model's width and its linears' grid; ``bits`` 16 is the unquantized model."""

    hidden: int
    bits: int = 16
    group_size: int = 128
    symmetric: bool = False
    zeros: str = "v2"

    @property
    def name(self) -> str:
        """A name for files and tables."""
        return "-".join(map(str, asdict(self).values()))

    @property
    def layout(self) -> Layout:
        """The grid."""
        return Layout(self.bits, self.group_size, self.symmetric, zeros=self.zeros)

    @property
    def options(self) -> dict[str, Any]:
        """vLLM's kernel for 2 and 3 bits, and for zero-points, has to be asked for."""
        return {"quantization": "humming"} if self.bits < 4 or (self.bits < 16 and not self.symmetric) else {}


def cases() -> list[Case]:
    """All of them: zero-points stored as they are first, in wide groups, at 3 bits; then what is offered already."""
    floats = [Case(256)]
    asymmetric = [
        Case(hidden, bits, group, False, zeros)
        for zeros, group, bits, hidden in product(("v2", "v1"), (128, 64, 32), (3, 2, 4), (256, 512, 1024))
    ]
    offered = [
        Case(h, bits, group, True, "v1") for group, bits, h in product((128, 64, 32), (3, 2, 4), (256, 512, 1024))
    ]
    return [*floats, *asymmetric[:3], offered[0], *asymmetric[3:], *offered[1:]]


def write_float(hidden: int, folder: Path) -> Path:
    """Two layers in the proportions of ``pocket-llama``, with weights that neither fade nor explode."""
    torch.manual_seed(hidden)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=2,
        num_attention_heads=max(2, hidden // 64),
        num_key_value_heads=max(1, hidden // 128),
        head_dim=min(64, hidden // 2),
        max_position_embeddings=2 * LENGTH,
        tie_word_embeddings=False,
        initializer_range=hidden**-0.5,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def write(case: Case, folder: Path) -> tuple[Path, Path, Path]:
    """The checkpoint, its dequantized twin, and a twin with zero-points one higher; for the float model, itself."""
    source = folder / f"float-{case.hidden}"
    if not source.exists():
        write_float(case.hidden, source)
    if case.bits == 16:
        return source, source, source
    plain, made = replace(case.layout, zeros="v2"), folder / case.name
    packed = write_packed(source, made / "packed", "gptq", case.layout)
    twin = write_packed(source, made / "twin", "dense", plain)
    return packed, twin, write_packed(source, made / "shifted", "dense", plain, shift=1)


def prompts() -> list[list[int]]:
    """Random tokens, always the same."""
    rng = random.Random(0)
    return [[rng.randrange(VOCABULARY) for _ in range(LENGTH)] for _ in range(PROMPTS)]


@torch.no_grad()
def expected(folder: Path) -> torch.Tensor:
    """``log p`` of the prompts' tokens in transformers, float32, ``[prompts, length - 1]``."""
    ids = torch.tensor(prompts())
    logits = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(ids).logits
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)


def served(
    checkpoints: dict[Case, Path], python: str, folder: Path, gpu: bool, seconds: float
) -> Iterator[tuple[Case, torch.Tensor | str]]:
    """``log p`` of each checkpoint by vLLM as it comes, or what it died of; the process is started again then."""
    end, todo = time.monotonic() + seconds, dict(checkpoints)
    while todo and time.monotonic() < end:
        jobs, out, log = (folder / f"{len(todo)}.{suffix}" for suffix in ("json", "jsonl", "log"))
        named = [{"name": case.name, "folder": str(at), "options": case.options} for case, at in todo.items()]
        options = GPU if gpu else CPU
        jobs.write_text(json.dumps({"prompts": prompts(), "options": options, "checkpoints": named}))
        with open(log, "w") as stream:
            command = [python, str(Path(__file__).with_name("engine.py")), str(jobs), str(out)]
            process = subprocess.Popen(command, env=environment(gpu), stdout=stream, stderr=subprocess.STDOUT)
            while process.poll() is None and time.monotonic() < end:
                yield from answers(out, todo)
                time.sleep(0.5)
            if timely := process.poll() is not None:
                yield from answers(out, todo)
            process.kill()
            process.wait()
        if timely and todo:
            case = next(iter(todo))
            todo.pop(case)
            yield case, reason(log)


def environment(gpu: bool) -> dict[str, str]:
    """Variables for vLLM; a CPU's vLLM must not see our packages."""
    kept = {key: value for key, value in os.environ.items() if gpu or key != "PYTHONPATH"}
    return {**kept, **VARIABLES, **({} if gpu else ON_A_CPU)}


def answers(out: Path, todo: dict[Case, Path]) -> Iterator[tuple[Case, torch.Tensor]]:
    """What has been written since, taken off ``todo``."""
    lines = out.read_text().splitlines() if out.exists() else []
    found = {line["name"]: line["logprobs"] for line in map(json.loads, lines)}
    for case in [case for case in todo if case.name in found]:
        todo.pop(case)
        yield case, torch.tensor(found[case.name])


def reason(log: Path) -> str:
    """The last line that names an error."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if "Error" in line]
    return (lines or ["it ended without a word"])[-1][-200:]


def row(case: Case, found: torch.Tensor | str, twin: torch.Tensor, shifted: torch.Tensor) -> dict[str, Any]:
    """One line of the table; ``right``: the served weights are the twin's, by far not the shifted ones."""
    gap = (shifted - twin).abs().mean().item()
    if isinstance(found, str):
        return {**asdict(case), "served": None, "shifted": gap, "right": False, "error": found}
    noise = (found - twin).abs().mean().item()
    right = noise < 0.2 * gap if case.bits < 16 else noise < 0.1
    return {**asdict(case), "served": noise, "shifted": gap, "right": right, "error": ""}


def table(out: Path) -> list[dict[str, Any]]:
    """The rows of a table, if there is one."""
    return list(csv.DictReader(out.open())) if out.exists() else []


def name_of(found: dict[str, Any]) -> str:
    """The name of the case that a row is of."""
    return "-".join(str(found[key]) for key in asdict(Case(0)))


def sweep(wanted: list[Case], out: Path, python: str, gpu: bool, seconds: float) -> list[dict[str, Any]]:
    """Rows of the cases that time allows, written to ``out`` as they come, after those that it has already."""
    rows = table(out)
    known = {name_of(old) for old in rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = {case: write(case, Path(folder)) for case in wanted if case.name not in known}
        packed = {case: parts[0] for case, parts in made.items()}
        for case, found in served(packed, python, Path(folder), gpu, seconds):
            rows.append(row(case, found, *map(expected, made[case][1:])))
            with open(out, "w", newline="") as stream:
                writer = csv.DictWriter(stream, list(rows[-1]))
                writer.writeheader()
                writer.writerows(rows)
            print({key: round(x, 4) if isinstance(x, float) else x for key, x in rows[-1].items()}, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12, help="how many that the table lacks")
    parser.add_argument("--seconds", type=float, default=110.0)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--python", default=sys.executable, help="the Python that has vLLM")
    args = parser.parse_args()
    known = set(map(name_of, table(args.out)))
    wanted = [case for case in cases() if case.name not in known][: args.cases]
    sweep(wanted, args.out, args.python, bool(visible_gpus()), args.seconds)


if __name__ == "__main__":
    main()
