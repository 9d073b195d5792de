"""A cell as a checkpoint folder that others load: packed where a format can hold it, dense where none can."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptqbench.errors import UserError, user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import begin, finish, verify
from ptqbench.spec import formats
from ptqbench.stages.common import parser

FORMATS = ("compressed_tensors", "dense")


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    arguments.add_argument(
        "--quantized", type=Path, nargs="?", help="the cell's manifest; empty for the float baseline"
    )
    args = arguments.parse_args(argv)
    folder = begin(args.out)
    model = verify(args.model)
    roots = ["ptqbench.stages.export", f"ptqbench.models.adapters.{model['adapter']}"]
    code = fingerprint([*roots, *(f"ptqbench.formats.{name}" for name in formats())])
    if args.quantized is None:
        size = model["weight_bytes"]
        record = {"format": "float", "reason": None, "weight_bytes": size, "packed_weight_bytes": size}
        finish(args.out, args.spec, code, [], checkpoint=model["source"], adapter=model["adapter"], **record)
        return
    files, record = run(args, Path(model["source"]), folder)
    where = str(folder / "checkpoint")
    finish(args.out, args.spec, code, files, checkpoint=where, adapter=model["adapter"], **record)


def run(args: Any, source: Path, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    from torch import Tensor

    from ptqbench.formats.checkpoint import write_model
    from ptqbench.models.checkpoint import Checkpoint
    from ptqbench.quantize.artifact import QuantizedCell
    from ptqbench.quantize.linear import QuantizedLinear

    verify(args.quantized)
    checkpoint = Checkpoint(source)
    cell = QuantizedCell(args.quantized, checkpoint)
    activations = args.spec["method"]["activations"]
    name, reason = choose(args.spec["format"], (linear for _, linear in cell.linears()), activations)
    module = importlib.import_module(f"ptqbench.formats.{name}")

    def replace(key: str, tensor: Tensor) -> dict[str, Tensor]:
        found = cell.replacement(key)
        if isinstance(found, QuantizedLinear):
            return module.tensors(key.removesuffix(".weight"), found, checkpoint.dtype, activations)
        return {key: tensor if found is None else found.to(tensor.dtype)}

    settings = module.settings(args.spec["scheme"], activations, [checkpoint.adapter.head])
    added = {key: tensor.to(checkpoint.dtype) for key, tensor in cell.added().items()}
    files = write_model(checkpoint, folder / "checkpoint", replace, settings, added, cell.config)
    written = sum(file.stat().st_size for file in files if file.suffix == ".safetensors")
    saved = cell.n_weights * checkpoint.dtype.itemsize - cell.packed_bytes if name == "dense" else 0
    record = {"format": name, "reason": reason, "weight_bytes": written, "packed_weight_bytes": written - saved}
    return files, record


def choose(asked: str, linears: Iterable[Any], activations: str) -> tuple[str, str | None]:
    """The format to write and, where it is a fallback to dense, why; what no format holds is refused."""
    if asked != "auto" and asked not in FORMATS:
        raise UserError(f"export.format is '{asked}': choose auto, {' or '.join(FORMATS)}")
    modules = {name: importlib.import_module(f"ptqbench.formats.{name}") for name in FORMATS if asked in ("auto", name)}
    refused: dict[str, set[str]] = {name: set() for name in modules}
    for linear in linears:
        for name, module in modules.items():
            refused[name] |= {reason for reason in [module.refuses(linear, activations)] if reason}
    lines: list[str] = []
    for name, reasons in refused.items():
        if not reasons:
            return name, "; ".join(lines) or None
        lines.append(f"{name} cannot hold {', '.join(sorted(reasons))}")
    raise UserError(f"export.format is '{asked}', but {'; '.join(lines)}: choose another format or method")


if __name__ == "__main__":
    main()
