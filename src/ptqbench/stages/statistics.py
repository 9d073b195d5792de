"""One full-precision pass over the calibration set: the statistics of every input site, block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.errors import user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.imports import lean_transformers
from ptqbench.manifest import begin, finish, key, load, verify
from ptqbench.places import model_folder
from ptqbench.progress import progress_bar
from ptqbench.reach import roots
from ptqbench.records import Model, Statistics
from ptqbench.stages.common import Meter, computing, parser, write


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    arguments.add_argument("--calibration", type=Path, required=True, help="the calibration set's manifest")
    arguments.add_argument("--batch-size", type=int, default=8, help="sequences per forward pass")
    args = arguments.parse_args(argv)
    adapter = load(args.model, Model)["adapter"]
    code = fingerprint(roots("statistics", args.spec, adapter))
    made = key(args.spec, code, model=args.model, calibration=args.calibration)
    if (folder := begin(args.out, made)) is None:
        return
    with computing() as device:
        meter = Meter(device)
        files = run(args, folder, device)
        finish(args.out, Statistics, made, files, adapter=adapter, **meter.read())


def run(args: Any, folder: Path, device: str) -> list[Path]:
    lean_transformers()
    import torch

    from ptqbench.models.checkpoint import Checkpoint
    from ptqbench.models.collect import collect_blocks
    from ptqbench.models.shown import read_calibration
    from ptqbench.models.skeleton import Skeleton
    from ptqbench.pipeline import Background, Download

    model = args.spec["model"]
    source, remote = model_folder(args.model, verify(args.model, Model)), model["trust_remote_code"]
    checkpoint = Checkpoint(source, model.get("vision_tower", False), remote)
    verify(args.calibration)
    calibration = read_calibration(args.calibration.parent, checkpoint.folder)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    skeleton = Skeleton(checkpoint, torch.device(device), dtype)
    files = []
    with progress_bar("statistics: block", total=checkpoint.n_blocks) as bar, Background() as writer:
        for span, inputs in skeleton.segments(calibration, args.batch_size):
            blocks = collect_blocks(skeleton, inputs, args.spec["statistics"], span)
            for index, (_, found) in zip(span, blocks, strict=True):
                files.append(folder / f"block-{index:03d}.safetensors")
                writer.submit(write, files[-1], Download(found))
                bar(1)
    return files


if __name__ == "__main__":
    main()
