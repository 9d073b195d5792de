"""GPTQ by a peer on a model folder, timed as gpu.py times ours; prints one line, 'BENCH {…}'.

    python benchmarks/peers.py llmcompressor FOLDER [--warm FOLDER] [--device cuda] [--offload cuda:0] [--save FOLDER]

Runs where the peer is installed (llmcompressor 0.14, gptqmodel 7.6), which is not our environment: gpu.py calls it with
``--peer-path``. A layer's time is from its first forward pass to the next layer's; the model in ``--warm`` is quantized
first, on a few samples and untimed, so that kernels are compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

# the decoder layers, what quantizes them, and what saves the model into a folder
Quantization = tuple[Any, Callable[[], Any], Callable[[str], Any]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("model", type=Path)
    parser.add_argument("--warm", type=Path, help="a model of the same shapes, quantized first")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--save", help="folder for the packed checkpoint; without it nothing is saved")
    parser.add_argument("--offload", help="where llmcompressor keeps activations between layers; by default its own")
    return parser.parse_args()


def random_tokens(args: argparse.Namespace, folder: Path, samples: int) -> Any:
    import torch

    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, vocabulary, (samples, args.length), generator=generator)


def tokenizer(folder: Path) -> Any:
    """A tokenizer of words, saved into the folder: the peers will not start without one."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(vocabulary)}, unk_token="t0"))
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="t0", eos_token="t1", pad_token="t2")
    made.save_pretrained(folder)
    return made


def llmcompressor(args: argparse.Namespace, folder: Path, samples: int) -> Quantization:
    import torch
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modeling.moe.linearize import load_quantizable_moe
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM

    words = tokenizer(folder)
    with load_quantizable_moe():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", device_map=args.device)
    weights = QuantizationArgs(num_bits=4, type="int", symmetric=False, strategy="group", group_size=args.group_size)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    recipe = [GPTQModifier(config_groups={"all": scheme}, ignore=["lm_head", "re:.*gate$"])]
    tokens = random_tokens(args, folder, samples)
    data = Dataset.from_dict({"input_ids": tokens.tolist(), "attention_mask": torch.ones_like(tokens).tolist()})
    options = {"sequential_offload_device": args.offload} if args.offload else {}

    def run() -> None:
        oneshot(
            model=model,
            dataset=data,
            recipe=recipe,
            tokenizer=words,
            max_seq_length=args.length,
            num_calibration_samples=samples,
            batch_size=args.batch_size,
            moe_calibrate_all_experts=False,  # as we do: an expert sees the tokens that the router sends it
            **options,
        )

    return model.model.layers, run, lambda folder: model.save_pretrained(folder, save_compressed=True)


def gptqmodel(args: argparse.Namespace, folder: Path, samples: int) -> Quantization:
    if (os.cpu_count() or 1) < 4:  # 7.6 does not start there otherwise
        os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    from gptqmodel import GPTQModel, QuantizeConfig

    tokenizer(folder)
    config = QuantizeConfig(bits=4, group_size=args.group_size, sym=False, desc_act=False)
    model = GPTQModel.load(str(folder), config, **({"device": "cpu"} if args.device == "cpu" else {}))
    rows = random_tokens(args, folder, samples).tolist()
    data = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows]
    return model.model.model.layers, lambda: model.quantize(data, batch_size=args.batch_size), model.save


PEERS: dict[str, Callable[[argparse.Namespace, Path, int], Quantization]] = {
    "llmcompressor": llmcompressor,
    "gptqmodel": gptqmodel,
}


def timed(layers: Any, run: Callable[[], Any], device: str) -> list[float]:
    """Seconds of each layer, from its first forward pass to that of the next, or to the end."""
    import torch

    first: dict[int, float] = {}

    def stamp(index: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            first.setdefault(index, time.perf_counter())

        return hook

    for index, layer in enumerate(layers):
        layer.register_forward_pre_hook(stamp(index))
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    if len(first) != len(layers):
        sys.exit(f"{len(first)} of {len(layers)} layers were seen to run: their times cannot be told apart")
    stamps = [first[index] for index in sorted(first)]
    return [after - before for before, after in pairwise([*stamps, time.perf_counter()])]


def main() -> None:
    args = arguments()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if args.warm:
        PEERS[args.peer](args, args.warm, args.batch_size)[1]()
    layers, run, save = PEERS[args.peer](args, args.model, args.samples)
    if args.device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    laps = timed(layers, run, args.device)
    found = {
        "version": version(args.peer),
        "s_per_layer": median(laps),
        "laps": [round(lap, 3) for lap in laps],
        "peak_gpu_gib": torch.cuda.max_memory_allocated() / 2**30 if args.device != "cpu" else None,
    }
    if args.save:
        begun = time.perf_counter()
        save(args.save)
        found["save_seconds"] = time.perf_counter() - begun
    print("BENCH " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
