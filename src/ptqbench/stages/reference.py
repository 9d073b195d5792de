"""The float model's predictions on the windows of a suite, computed once and read by every cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.atomic import atomic
from ptqbench.errors import user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.imports import lean_transformers
from ptqbench.manifest import begin, finish, key, load, verify
from ptqbench.places import model_folder, texts
from ptqbench.progress import progress_bar
from ptqbench.reach import roots
from ptqbench.records import Model, Reference
from ptqbench.stages.common import Meter, computing, parser


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    arguments.add_argument("--gpus", type=int, default=1, help="GPUs to hold, where there are any")
    args = arguments.parse_args(argv)
    code = fingerprint(roots("reference", args.spec, load(args.model, Model)["adapter"]))
    made = key(args.spec, code, texts(args.spec["suite"]), model=args.model)
    if (folder := begin(args.out, made)) is None:
        return
    with computing(args.gpus) as device:
        meter = Meter(device)
        windows = run(args, folder, device)
        finish(args.out, Reference, made, list(windows), windows=sum(windows.values()), **meter.read())


def run(args: Any, folder: Path, device: str) -> dict[Path, int]:
    """Write what the head reads of every window, a file for each corpus; how many windows each has."""
    lean_transformers()
    import torch
    from safetensors.torch import save_file

    from ptqbench.evaluation.backends.transformers import Backend
    from ptqbench.evaluation.fidelity import BATCH_SIZE
    from ptqbench.evaluation.perplexity import cut_corpus
    from ptqbench.evaluation.reference import Head, check_head, file, states

    model, suite = args.spec["model"], args.spec["suite"]
    source, remote = model_folder(args.model, verify(args.model, Model)), model["trust_remote_code"]
    backend = Backend(source, device, remote)
    head = Head.of(source, remote)
    made = {}
    for name in suite["corpora"]:
        cut = cut_corpus(backend, suite, name).windows
        parts: list[torch.Tensor] = []
        with progress_bar(f"float model on {name}: window", total=len(cut)) as bar:
            for hidden, logits in states(backend.model, cut, suite.get("batch_size", BATCH_SIZE)):
                if not parts:
                    check_head(head.to(logits.device, hidden.dtype), hidden, logits, f"models.{model['name']}")
                parts.append(hidden)
                bar(len(hidden))
        with atomic(path := file(folder, name)) as temporary:
            save_file({"tokens": cut.int(), "hidden": torch.cat(parts)}, temporary)
        made[path] = len(cut)
    return made


if __name__ == "__main__":
    main()
