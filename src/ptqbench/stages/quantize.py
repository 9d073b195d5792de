"""One cell: every linear of a model as codes, by one method and scheme, from cached statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.devices import one_device
from ptqbench.errors import user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import atomic, begin, finish, verify
from ptqbench.progress import progress_bar
from ptqbench.recipe import modules
from ptqbench.stages.common import Meter, parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    arguments.add_argument("--statistics", type=Path, required=True, help="the statistics' manifest")
    args = arguments.parse_args(argv)
    folder = begin(args.out)
    with one_device() as device:
        meter = Meter(device)
        files, record = run(args, folder, device)
        code = fingerprint(["ptqbench.stages.quantize", *modules(args.spec["method"])])
        finish(args.out, args.spec, code, files, **record, **meter.read())


def run(args: Any, folder: Path, device: str) -> tuple[list[Path], dict[str, Any]]:
    import torch
    from safetensors.torch import load_file, save_file

    from ptqbench.models.checkpoint import Checkpoint
    from ptqbench.quantize.block import BlockState, SiteStatistics, quantize_block
    from ptqbench.quantize.grid import Grid

    checkpoint = Checkpoint(Path(verify(args.model)["source"]))
    verify(args.statistics)
    scheme = args.spec["scheme"]
    grid = Grid(scheme["bits"], scheme["group_size"], scheme["symmetric"])
    files: list[Path] = []
    record: dict[str, Any] = {"layers": [], "packed_bytes": 0, "n_weights": 0}
    with progress_bar("quantize: block", total=checkpoint.n_blocks) as bar:
        for index in range(checkpoint.n_blocks):
            source = args.statistics.parent / f"block-{index:03d}.safetensors"
            found = load_file(source)
            sites = checkpoint.adapter.sites(checkpoint.config, index)
            statistics = {
                site.name: SiteStatistics.from_tensors(found, site.name, torch.device(device), str(source))
                for site in sites
            }
            tensors = {name: tensor.to(device, torch.float32) for name, tensor in checkpoint.block(index).items()}
            block = quantize_block(BlockState(index, sites, tensors, statistics), args.spec["method"], grid)
            files.append(folder / f"block-{index:03d}.safetensors")
            state = {key: t for name, linear in block.linears.items() for key, t in linear.state(name).items()}
            with atomic(files[-1]) as temporary:
                save_file({key: tensor.cpu().contiguous() for key, tensor in state.items()}, temporary)
            record["layers"] += block.records
            record["packed_bytes"] += sum(linear.packed_bytes for linear in block.linears.values())
            record["n_weights"] += sum(linear.codes.numel() for linear in block.linears.values())
            bar(1, f"of {args.spec['method']['name']} {scheme['name']}")
    return files, record


if __name__ == "__main__":
    main()
