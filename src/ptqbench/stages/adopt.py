"""A checkpoint that somebody else quantized, as it is: a local folder, or fetched from the hub at a pinned revision.

Everything that could stop an evaluation because of the folder stops this, before any work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.errors import user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.foreign_checks import check_folder, stored
from ptqbench.formats import foreign
from ptqbench.manifest import begin, finish, key, verify
from ptqbench.models.files import model_files
from ptqbench.places import SNAPSHOT, local, model_folder
from ptqbench.places import stored as relative
from ptqbench.reach import roots
from ptqbench.records import Model, Packed, Theirs
from ptqbench.stages.common import Meter, parser
from ptqbench.stages.export import weights
from ptqbench.stages.prepare import fetch, sources, stored_bytes


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared float model's manifest")
    arguments.add_argument("--state", type=Path, help="the folder that remembers the digests of files")
    args = arguments.parse_args(argv)
    meter, model, line = Meter("cpu"), verify(args.model, Model), args.spec["checkpoint"]
    own, code = local(line), line["trust_remote_code"]
    where = f"checkpoints.{line['name']}.{'path' if own else 'hub'}"
    made = key(args.spec, fingerprint(roots("adopt", args.spec)), model=args.model)
    made["sources"] = sources(own, where, code, args.state) if own else {}
    if (folder := begin(args.out, made)) is None:
        return
    source = own or fetch(line, folder / SNAPSHOT, where)
    floats = model_folder(args.model, model)
    settings = check_folder(source, where, code, args.spec["model"]["name"], floats)
    headers, size, count = stored(source, floats, where)
    whole = stored_bytes(headers)
    record = {
        "format": foreign.format_name(settings["quant_method"]),
        "reason": None,
        "weight_bytes": whole,
        "packed_weight_bytes": whole,
        "adapter": model["adapter"],
        "model_type": model["model_type"],
        **weights(floats),
        "checkpoint": relative(source, args.out, line),
        "theirs": theirs(settings, size, count),
    }
    finish(args.out, Packed, made, [] if own else model_files(source, where, code), **record, **meter.read())


def theirs(settings: dict[str, Any], size: int, count: int) -> Theirs:
    """What is known of a checkpoint that others made."""
    told = foreign.told(settings)
    return {
        "told": told.words,
        "widths": list(told.widths),
        "group_size": told.group_size,
        "number": told.number,
        "quantized_bytes": size,
        "n_weights": count,
    }


if __name__ == "__main__":
    main()
