"""Log-probabilities of prompts by vLLM in this process, one checkpoint after another: ``engine.py JOBS OUT``.

Runs in whatever Python has vLLM, and needs nothing else. JOBS is JSON: ``prompts`` (token ids), ``options`` of every
engine, and ``checkpoints``, each with ``name``, ``folder`` and ``options`` of its own. OUT gets a line of JSON each.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any


def scored(folder: str, prompts: list[list[int]], options: dict[str, Any]) -> list[list[float]]:
    """``log p`` of every prompt's tokens but the first."""
    from vllm import LLM, SamplingParams

    engine = LLM(folder, skip_tokenizer_init=True, enforce_eager=True, disable_log_stats=True, **options)
    asked = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
    answers = engine.generate([{"prompt_token_ids": ids} for ids in prompts], asked, use_tqdm=False)
    pairs = zip(prompts, answers, strict=True)
    return [
        [at[token].logprob for token, at in zip(ids[1:], answer.prompt_logprobs[1:], strict=True)]
        for ids, answer in pairs
    ]


def main(jobs: Path, out: Path) -> None:
    from vllm.distributed import cleanup_dist_env_and_memory

    todo = json.loads(jobs.read_text())
    for one in todo["checkpoints"]:
        found = scored(one["folder"], todo["prompts"], todo["options"] | one["options"])
        with open(out, "a") as stream:
            stream.write(json.dumps({"name": one["name"], "logprobs": found}) + "\n")
        gc.collect()
        cleanup_dist_env_and_memory()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
