"""One suite on one checkpoint."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ptqbench.devices import devices
from ptqbench.errors import UserError, user_facing
from ptqbench.evaluation.environment import read_marker
from ptqbench.fingerprint import fingerprint
from ptqbench.formats.foreign import check_read
from ptqbench.imports import lean_transformers
from ptqbench.locks import claim
from ptqbench.manifest import is_made, key, load, verify, write_result
from ptqbench.models.headers import read_config
from ptqbench.places import checkpoint_folder, model_folder, texts
from ptqbench.reach import evaluation, roots
from ptqbench.records import Key, Model, Packed, Reference, Reported, Result
from ptqbench.stages.common import Meter, computing, parser

ALONE = ("throughput",)  # kinds of suites that share a GPU with nobody


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--checkpoint", type=Path, required=True, help="the exported checkpoint's manifest")
    arguments.add_argument("--reference", type=Path, nargs="?", help="the float model's predictions, if the suite asks")
    arguments.add_argument("--model", type=Path, nargs="?", help="the prepared float model's manifest, likewise")
    arguments.add_argument("--server", type=Path, nargs="?", help="marker of the serving environment, if it has one")
    arguments.add_argument("--gpus", type=int, default=1, help="GPUs to hold, where there are any")
    arguments.add_argument("--server-log", type=Path, help="what a server writes; beside the result by default")
    args = arguments.parse_args(argv)
    made, served = what_made(args), is_served(args.spec)
    claim(args.out)
    if is_made(args.out, made, Result):
        return
    exported = verify(args.checkpoint, Packed)
    hold = devices if served else computing  # a server has a torch of its own
    with hold(args.gpus, whole=args.spec["suite"]["kind"] in ALONE) as device:
        meter = Meter("cpu" if served else device)  # a server measures for itself
        rows, record = run(args, exported, device)
        result = {
            **made,
            "backend": args.spec["backend"],
            "export": exported["format"],
            "cell": {name: value for name, value in exported.items() if name in Reported.__annotations__},
            "rows": rows,
            **meter.read(),
            **record,
        }
    write_result(args.out, result)


def what_made(args: Any) -> Key:
    """What the result follows from; the environment of a server only where one runs."""
    code = fingerprint(roots("evaluate", args.spec))
    made = key(args.spec, code, texts(args.spec["suite"]), checkpoint=args.checkpoint, reference=args.reference)
    if args.server and is_served(args.spec):
        made["inputs"]["server"] = read_marker(args.server)["lock"]
    return made


def is_served(spec: dict[str, Any]) -> bool:
    """Whether a server evaluates, and not this process."""
    return bool(spec["backend"] != "transformers")


def run(args: Any, exported: Packed, device: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    lean_transformers()
    from ptqbench.evaluation.backends.text import Setup, Text

    spec, suite, folder = args.spec, args.spec["suite"], checkpoint_folder(args.checkpoint, exported)
    if "theirs" in exported:
        settings = read_config(folder, str(folder))["quantization_config"]
        where = f"checkpoints.{spec['checkpoint']['name']} is '{folder}', which"
        check_read(settings["quant_method"], spec["backend"], where, suite["name"])
    elif exported["format"] not in spec["serves"]:
        raise UserError(
            f"suites.{suite['name']}.backend is '{spec['backend']}', which does not read {exported['format']}, the "
            f"format of this cell: give scheme '{spec['scheme']['name']}' a format, one of {', '.join(spec['serves'])}"
        )
    kind, backend = (importlib.import_module(name) for name in evaluation(spec))
    text = Text(folder, spec.get("checkpoint", spec["model"])["trust_remote_code"])
    setup = Setup(
        backend=spec["backend"],
        device=device,
        remote=text.remote,
        length=kind.longest(suite, text.context),
        compiled=getattr(kind, "COMPILED", False),
        flags=tuple(spec["serves"][exported["format"]]),
        marker=args.server,
        log=args.server_log or args.out.with_suffix(".server.log"),
        gpus=args.gpus,
        logprobs=suite.get("top_k", 0),
    )
    given = [reference(args, kind, device)] if getattr(kind, "REFERENCE", False) else []
    with backend.opened(text, setup) as opened:
        rows = kind.run(opened, suite, *given)
        return rows, opened.record()


def reference(args: Any, kind: Any, device: str) -> Any:
    """What the suite compares with; its logits are made where torch computes, beside a server too."""
    import torch

    verify(args.reference, Reference)
    folder, remote = model_folder(args.model, load(args.model, Model)), args.spec["model"]["trust_remote_code"]
    own = "cuda" if device == "cuda" and torch.cuda.is_available() else "cpu"
    return kind.reference(args.reference.parent, folder, remote, own)


if __name__ == "__main__":
    main()
