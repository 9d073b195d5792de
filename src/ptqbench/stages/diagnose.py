"""Why a cell scores as it does: its layers, the growth of its error through depth, and the blocks that carry it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.atomic import atomic
from ptqbench.errors import about, user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import begin, finish, key, load, verify
from ptqbench.places import model_folder, texts
from ptqbench.reach import roots
from ptqbench.recipe import Recipe
from ptqbench.records import Codes, Diagnosis, Model
from ptqbench.stages.common import Meter, computing, parser

TABLES = ("layers", "transforms", "growth", "restored")


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    arguments.add_argument("--statistics", type=Path, required=True, help="the statistics' manifest")
    arguments.add_argument("--calibration", type=Path, required=True, help="the calibration set's manifest")
    arguments.add_argument("--quantized", type=Path, required=True, help="the cell's manifest")
    args = arguments.parse_args(argv)
    code = fingerprint(roots("diagnose", args.spec, load(args.model, Model)["adapter"]))
    inputs = {name: getattr(args, name) for name in ("model", "statistics", "calibration", "quantized")}
    made = key(args.spec, code, texts(args.spec["held_out"]), **inputs)
    if (folder := begin(args.out, made)) is None:
        return
    with computing() as device:
        meter = Meter(device)
        tables = run(args, device)
        files = [write(folder / f"{name}.parquet", tables[name]) for name in TABLES]
        finish(args.out, Diagnosis, made, files, **meter.read())


def run(args: Any, device: str) -> dict[str, list[dict[str, Any]]]:
    import torch

    from ptqbench.artifacts.cell import QuantizedCell
    from ptqbench.data.calibration import read_tokens
    from ptqbench.diagnosis.depth import Hybrid, growth, restored
    from ptqbench.diagnosis.layers import code_rows, site_rows, transform_rows
    from ptqbench.drive.cell import Cell
    from ptqbench.models.checkpoint import Checkpoint
    from ptqbench.models.load import load_whole
    from ptqbench.numbers.grid import scheme_grid

    source = model_folder(args.model, verify(args.model, Model))
    for manifest in (args.statistics, args.calibration, args.quantized):
        verify(manifest)
    remote = args.spec["model"]["trust_remote_code"]
    checkpoint, recipe = Checkpoint(source, remote=remote), Recipe.of(args.spec["method"])
    grid = scheme_grid(args.spec["scheme"], args.spec["method"])
    quantized = QuantizedCell(args.quantized, checkpoint)
    calibration = torch.from_numpy(read_tokens(args.calibration.parent / "tokens.parquet")).long()
    torch.set_grad_enabled(False)
    cell = Cell(checkpoint, recipe, grid, args.statistics.parent, torch.device(device), calibration)
    cell.rotations = quantized.rotations
    widths = {name.partition("."): bits for name, bits in load(args.quantized, Codes)["widths"].items()}
    cell.widths = {(int(block), site): bits for (block, _, site), bits in widths.items()}
    sites: dict[str, dict[str, Any]] = {}
    transforms = []
    for index in range(checkpoint.n_blocks):
        state = cell.state(index)
        for site, row in site_rows(state, args.statistics.parent).items():
            sites[f"{index}.{site}"] = row
        transforms += transform_rows(cell, state)
    codes = code_rows(quantized)
    layers = []
    for record in load(args.quantized, Codes)["layers"]:
        block, _, linear = record["linear"].partition(".")
        name = f"{checkpoint.adapter.prefix(int(block))}{linear}"
        known = {key: record[key] for key in ("linear", "site", "proxy_loss", "nearest_proxy_loss", "snr_db")}
        layers.append({**known, **codes[name], **sites[f"{block}.{record['site']}"]})
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = load_whole(checkpoint, dtype).to(device)
    hybrid = Hybrid(model, checkpoint, quantized)
    tokens = held_out(args.spec["held_out"], source, remote)
    reference = list(hybrid.logits(tokens))
    depth = [{"blocks": count, "kl": kl} for count, kl in growth(hybrid, tokens, reference)]
    ranking = [{"block": block, "kl": kl} for block, kl in restored(hybrid, tokens, reference)]
    return {"layers": layers, "transforms": transforms, "growth": depth, "restored": ranking}


def held_out(settings: dict[str, Any], source: Path, remote: bool) -> Any:
    """Windows of the evaluation text, ``[windows, length]``."""
    import torch
    from transformers import AutoTokenizer

    from ptqbench.data.corpora import read_corpus
    from ptqbench.evaluation.perplexity import windows

    with about(f"diagnosis on '{settings['corpus']}'"):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=remote)
        special = (tokenizer.bos_token, tokenizer.eos_token)
        corpus = read_corpus(settings["corpus"], "evaluation", settings.get("revision"), special)
        ids = tokenizer(corpus.stream, verbose=False)["input_ids"]
        return windows(torch.tensor(ids), settings["length"])[: settings["windows"]]


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    import polars as pl

    with atomic(file) as temporary:
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(temporary)
    return file


if __name__ == "__main__":
    main()
