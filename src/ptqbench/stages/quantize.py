"""One cell: every linear of a model as codes, by one method and scheme, from cached statistics."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from ptqbench.errors import user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import Verifier, begin, finish, key, load, verify
from ptqbench.places import model_folder
from ptqbench.progress import progress_bar
from ptqbench.reach import MIXED, PROPAGATE, roots
from ptqbench.recipe import Recipe
from ptqbench.records import Codes, Model
from ptqbench.stages.common import Meter, computing, parser, write
from ptqbench.stages.parts import gather, span


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    arguments.add_argument("--statistics", type=Path, nargs="?", help="the statistics' manifest, if the cell reads any")
    arguments.add_argument("--calibration", type=Path, required=True, help="the calibration set's manifest")
    arguments.add_argument("--batch-size", type=int, default=8, help="sequences per forward pass, if there are any")
    arguments.add_argument("--part", type=int, nargs=2, default=(0, 1), help="which part of how many this job makes")
    arguments.add_argument("--parts", type=Path, nargs="*", default=[], help="manifests of all parts: make one of them")
    args = arguments.parse_args(argv)
    code = fingerprint(roots("quantize", args.spec, load(args.model, Model)["adapter"]))
    inputs = {name: getattr(args, name) for name in ("model", "calibration", "statistics")}
    parts = {f"part {index}": part for index, part in enumerate(args.parts)}
    made = key(args.spec, code, **inputs, **parts)
    if (folder := begin(args.out, made)) is None:
        return
    if args.parts:
        files, record = gather(args.parts, folder)
        finish(args.out, Codes, made, files, **record)
        return
    with computing() as device, Verifier(args.statistics) as statistics:
        meter = Meter(device)
        files, record = run(args, folder, device, statistics)
        finish(args.out, Codes, made, files, **record, **meter.read())


def run(args: Any, folder: Path, device: str, statistics: Verifier) -> tuple[list[Path], dict[str, Any]]:
    import torch

    from ptqbench.artifacts.linear import packed_bytes
    from ptqbench.artifacts.names import OUTSIDE, ROTATIONS, block_file
    from ptqbench.pipeline import Background, Download

    torch.set_grad_enabled(False)
    verify(args.calibration)
    cell = cell_of(args, device)
    cell.check, cell.span = statistics.check, span(args.part[0], args.part[1], cell.n_blocks)
    with torch.enable_grad():
        cell.prepare()
    recipe, scheme = Recipe.of(args.spec["method"]), args.spec["scheme"]
    if scheme["bits"] == "mixed":
        cell.widths = driver(MIXED).best_widths(cell, scheme["choices"], scheme["budget"])
    blocks = cell.run(args.batch_size) if recipe.propagate else cell.blocks()
    record: dict[str, Any] = {"layers": [], "transforms": [], "packed_bytes": 0, "n_weights": 0}
    files = []
    with progress_bar("quantize: block", total=len(cell.span)) as bar, Background() as writer:
        for index, (block, notes) in zip(cell.span, blocks, strict=True):
            files.append(folder / block_file(index))
            writer.submit(write, files[-1], Download(state_of(block)))
            record["layers"] += block.records
            record["transforms"] += notes
            record["packed_bytes"] += sum(packed_bytes(linears) for linears in block.sites().values())
            record["n_weights"] += sum(math.prod(linear.shape) for linear in block.linears.values())
            bar(1, f"of {args.spec['method']['name']} {scheme['name']}")
    outside = cell.outside()
    if args.part[0] == 0:
        whole = {OUTSIDE: outside.tensors} | ({ROTATIONS: cell.rotations.state()} if cell.rotations else {})
        for name, tensors in whole.items():
            files.append(folder / name)
            write(files[-1], Download(tensors))
    widths = {f"{block}.{site}": bits for (block, site), bits in cell.widths.items()}
    return files, {**record, **float_sizes(cell, outside), "config": outside.config, "widths": widths}


def cell_of(args: Any, device: str) -> Any:
    """The cell to quantize; what runs the model is only imported for one that does."""
    import torch

    from ptqbench.drive.cell import Cell
    from ptqbench.models.checkpoint import Checkpoint
    from ptqbench.models.shown import read_calibration
    from ptqbench.numbers.grid import scheme_grid

    source, model = model_folder(args.model, verify(args.model, Model)), args.spec["model"]
    checkpoint = Checkpoint(source, model.get("vision_tower", False), model["trust_remote_code"])
    recipe, kind = Recipe.of(args.spec["method"]), Cell
    if recipe.propagate:
        kind = driver(PROPAGATE).PropagatedCell
    folders = (args.statistics or Path("none/manifest.json")).parent
    calibration = read_calibration(args.calibration.parent, checkpoint.folder)
    grid = scheme_grid(args.spec["scheme"], args.spec["method"])
    return kind(checkpoint, recipe, grid, folders, torch.device(device), calibration)


def driver(name: str) -> Any:
    """A module of :func:`ptqbench.reach.drivers`: by name, so that only cells that run it have it in their keys."""
    return importlib.import_module(name)


def float_sizes(cell: Any, outside: Any) -> dict[str, int]:
    """Bytes of what stays in float in the cell's whole checkpoint, and those of it that the model did not have.

    What a transform adds (a head that is no longer tied) is stored in the checkpoint's dtype.
    """
    checkpoint = cell.checkpoint
    quantized = {f"{name}.weight" for name in checkpoint.linears()}
    kept = sum(header.nbytes for name, header in checkpoint.headers.items() if name not in quantized)
    new = (tensor for name, tensor in outside.tensors.items() if name not in checkpoint.headers)
    added = sum(tensor.numel() for tensor in new) * checkpoint.dtype.itemsize
    return {"float_bytes": kept + added, "added_bytes": added}


def state_of(block: Any) -> dict[str, Any]:
    """Codes and grids of a block, and under ``float.`` the tensors that transforms changed."""
    state = {key: t for name, linear in block.linears.items() for key, t in linear.state(name).items()}
    for site, linears in block.sites().items():
        state |= linears[0].input_state(site)
    return state | {f"float.{name}": tensor for name, tensor in block.tensors.items()}


if __name__ == "__main__":
    main()
