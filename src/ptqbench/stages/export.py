"""A cell as a checkpoint folder that others load: packed where a format can hold it, dense where none can."""

from __future__ import annotations

import importlib
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ptqbench.errors import UserError, about, user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.formats.choice import choose
from ptqbench.formats.layout import Layout
from ptqbench.manifest import begin, finish, key, verify
from ptqbench.models.headers import read_headers
from ptqbench.places import CHECKPOINT, model_folder, stored
from ptqbench.reach import roots
from ptqbench.records import Codes, Model, Packed
from ptqbench.stages.common import Meter, parser

REPORTED = (
    "packed_bytes",
    "n_weights",
    "seconds",
    "peak_memory_bytes",
    "device",
    "layers",
    "added_bytes",
    "float_bytes",
)
DTYPES = {"F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2)}
TOWER = "the vision tower is dequantized: a packed format is written for the language model alone"


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    arguments.add_argument(
        "--quantized", type=Path, nargs="?", help="the cell's manifest; empty for the float baseline"
    )
    args = arguments.parse_args(argv)
    meter, model = Meter("cpu"), verify(args.model, Model)
    code = fingerprint(roots("export", args.spec, model["adapter"]))
    made = key(args.spec, code, model=args.model, quantized=args.quantized)
    if (folder := begin(args.out, made)) is None:
        return
    source, size = model_folder(args.model, model), model["weight_bytes"]
    where, files = source, list[Path]()
    record = {"format": "float", "reason": None, "weight_bytes": size, "packed_weight_bytes": size}
    if args.quantized is not None:
        where = folder / CHECKPOINT
        files, record = run(args, source, folder)
    record |= {"adapter": model["adapter"], "model_type": model["model_type"], **weights(source)}
    record["checkpoint"] = stored(where, args.out, args.spec["model"])
    finish(args.out, Packed, made, files, **record, **meter.read())


def weights(source: Path) -> dict[str, Any]:
    """How many parameters a model has, and in which dtype (the one that most bytes are of)."""
    counts: dict[str, int] = {}
    for header in read_headers(source, f"model {source}").values():
        counts[header.dtype] = counts.get(header.dtype, 0) + math.prod(header.shape)
    dtype = max(counts, key=lambda name: counts[name] * DTYPES.get(name, (name, 1))[1])
    return {"dtype": DTYPES.get(dtype, (dtype, 1))[0], "n_parameters": sum(counts.values())}


def run(args: Any, source: Path, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    from torch import Tensor

    from ptqbench.artifacts.cell import QuantizedCell
    from ptqbench.artifacts.linear import QuantizedLinear, packed_bytes
    from ptqbench.formats import online
    from ptqbench.formats.checkpoint import write_model
    from ptqbench.models.checkpoint import Checkpoint

    made: Any = verify(args.quantized, Codes)
    model = args.spec["model"]
    checkpoint = Checkpoint(source, model.get("vision_tower", False), model["trust_remote_code"])
    cell = QuantizedCell(args.quantized, checkpoint)
    where = f"schemes.{args.spec['scheme']['name']}"
    with about(where):
        row = choose(args.spec["rows"], args.spec["format"], checkpoint.config["model_type"])
        turned = online.widths(cell.linears()) if Layout.of(args.spec).online else {}
        kind = transform_type(row, turned, checkpoint.headers)
        layout = Layout.of(args.spec, row.get("zeros", Layout.zeros), kind)
        language = (linear for key, linear in cell.linears() if not cell.in_tower(key))
        name, reason = held(row, args.spec["format"], layout, language)
    module, dense = (importlib.import_module(f"ptqbench.formats.{form}") for form in (name, "dense"))
    matrices = online.tensors(turned, kind, checkpoint.dtype) if kind and name != "dense" else {}

    def replaced(key: str, tensor: Tensor) -> dict[str, Tensor]:
        found, linear = cell.replacement(key), key.removesuffix(".weight")
        if isinstance(found, QuantizedLinear):
            form = dense if cell.in_tower(linear) else module
            beside = {other: matrix for other, matrix in matrices.items() if other.startswith(f"{linear}.")}
            return form.tensors(linear, found, checkpoint.dtype, layout) | beside
        return {key: tensor if found is None else found.to(tensor.dtype)}

    mixed = args.spec["scheme"]["bits"] == "mixed"
    widths = {key: linear.bits for key, linear in cell.linears()} if mixed else None
    settings = module.settings(layout, kept_in_float(checkpoint), *([widths] if mixed else []))
    if settings and turned and kind:
        settings["transform_config"] = online.settings(turned, kind)
    added = {key: tensor.to(checkpoint.dtype) for key, tensor in cell.added().items()}
    files = write_model(checkpoint, folder / CHECKPOINT, replaced, settings, added, cell.config)
    written = sum(file.stat().st_size for file in files if file.suffix == ".safetensors")
    if name == "dense":
        saved = cell.n_weights * checkpoint.dtype.itemsize - cell.packed_bytes
    else:
        tower = [linears for block, linears in cell.sites() if block < checkpoint.adapter.tower_blocks]
        weights = sum(math.prod(linear.shape) for linears in tower for linear in linears)
        saved = weights * checkpoint.dtype.itemsize - sum(map(packed_bytes, tower))
    record: dict[str, Any] = {
        "format": name,
        "reason": reason,
        "weight_bytes": written,
        "packed_weight_bytes": written - saved,
    }
    record["quantized"] = {name: made[name] for name in REPORTED}  # so that the report needs no codes
    return files, record | ({"dense_part": TOWER} if checkpoint.adapter.tower_blocks and name != "dense" else {})


def transform_type(row: dict[str, Any], turned: Collection[str], stored: Collection[str]) -> str | None:
    """How a checkpoint says what is done to the inputs of ``turned`` linears; None where the backend cannot do it.

    ``stored``: the checkpoint's tensors. vLLM transforms no input of a linear with a bias.
    """
    return None if any(f"{linear}.bias" in stored for linear in turned) else row.get("transform")


def held(row: dict[str, Any], asked: str, layout: Layout, linears: Iterable[Any]) -> tuple[str, str | None]:
    """The format to write: that of the choice table's ``row`` if it can hold every linear, otherwise dense, and why.

    Raises :class:`UserError` where a format was asked for that cannot.
    """
    chosen: str = row["format"]
    names = [chosen] if asked != "auto" or chosen == "dense" else [chosen, "dense"]
    candidates = {name: importlib.import_module(f"ptqbench.formats.{name}") for name in names}
    refused: dict[str, set[str]] = {name: set() for name in names}
    for linear in linears:
        for name, module in candidates.items():
            refused[name] |= {reason for reason in [module.refuses(linear, layout)] if reason}
    lines = [f"{name} cannot hold {', '.join(sorted(reasons))}" for name, reasons in refused.items() if reasons]
    if not refused[chosen]:
        return chosen, row.get("because") if asked == "auto" else None
    if len(names) > 1 and not refused["dense"]:
        return "dense", lines[0]
    raise UserError(f"the format is '{asked}', but {'; '.join(lines)}: choose another format or method")


def kept_in_float(checkpoint: Any) -> list[str]:
    """Linears that are not quantized (head, routers, a vision tower), by name and, where names differ, by pattern."""
    adapter = checkpoint.adapter
    blocks = range(adapter.tower_blocks, checkpoint.n_blocks)  # a tower is dequantized
    sites = ((block, site) for block in blocks for site in adapter.sites(checkpoint.config, block))
    quantized = {f"{adapter.prefix(block)}{linear}" for block, site in sites for linear in site.linears}
    weights = {name for name, header in checkpoint.headers.items() if len(header.shape) == 2}
    matrices = {name.removesuffix(".weight") for name in weights if name.endswith(".weight")}
    names = sorted((matrices | {adapter.head}) - quantized - {adapter.embedding})
    return names + [f"re:.*{name}.*" for name in adapter.floats]


if __name__ == "__main__":
    main()
