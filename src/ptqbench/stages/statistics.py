"""One full-precision pass over the calibration tokens: the statistics of every input site, block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.devices import one_device
from ptqbench.errors import user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import atomic, begin, finish, load, verify
from ptqbench.progress import progress_bar
from ptqbench.stages.common import Meter, parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    arguments.add_argument("--calibration", type=Path, required=True, help="the calibration set's manifest")
    arguments.add_argument("--batch-size", type=int, default=8, help="sequences per forward pass")
    args = arguments.parse_args(argv)
    folder = begin(args.out)
    with one_device() as device:
        meter = Meter(device)
        files = run(args, folder, device)
        adapter = load(args.model)["adapter"]
        roots = ["ptqbench.stages.statistics", f"ptqbench.models.adapters.{adapter}"]
        roots += [f"ptqbench.statistics.{name}" for name in args.spec["statistics"]]
        finish(args.out, args.spec, fingerprint(roots), files, adapter=adapter, **meter.read())


def run(args: Any, folder: Path, device: str) -> list[Path]:
    import torch
    from safetensors.torch import save_file

    from ptqbench.data.calibration import read_tokens
    from ptqbench.models.checkpoint import Checkpoint
    from ptqbench.models.collect import watching
    from ptqbench.models.skeleton import Skeleton, run_block

    checkpoint = Checkpoint(Path(verify(args.model)["source"]))
    verify(args.calibration)
    tokens = torch.from_numpy(read_tokens(args.calibration.parent / "tokens.parquet")).long()
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    skeleton = Skeleton(checkpoint, torch.device(device), dtype, args.spec["model"]["trust_remote_code"])
    inputs = skeleton.inputs(tokens, args.batch_size)
    files = []
    with progress_bar("statistics: block", total=checkpoint.n_blocks) as bar:
        for index in range(checkpoint.n_blocks):
            block = skeleton.block(index, checkpoint.block(index))
            sites = checkpoint.adapter.sites(checkpoint.config, index)
            with watching(block, sites, args.spec["statistics"]) as accumulators:
                for item, hidden in zip(inputs, run_block(block, inputs), strict=True):
                    item.hidden = hidden
            skeleton.release(index)
            found = {key: value for name, site in accumulators.items() for key, value in site.finish(name).items()}
            files.append(folder / f"block-{index:03d}.safetensors")
            with atomic(files[-1]) as temporary:
                save_file(found, temporary)
            bar(1)
    return files


if __name__ == "__main__":
    main()
