"""A model: fetched from the hub at its pinned revision, or a local folder as it is.

Everything that could stop a later job because of the folder stops this one, before any work.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ptqbench.digests import digests
from ptqbench.errors import reaching, user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.imports import lean_transformers
from ptqbench.manifest import begin, finish, key
from ptqbench.model_checks import check_folder
from ptqbench.models.adapter import load_adapter
from ptqbench.models.files import model_files, wanted_files, wanted_weights
from ptqbench.models.headers import Header, read_config, read_headers
from ptqbench.models.recomputed import is_recomputed
from ptqbench.places import SNAPSHOT, local
from ptqbench.reach import roots
from ptqbench.records import Model
from ptqbench.stages.common import parser

EXAMINE = "ptqbench.models.examine"  # by its name: a check that only refuses changes no result, and is in no key


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--state", type=Path, help="the folder that remembers the digests of files")
    args = arguments.parse_args(argv)
    model, code, own = args.spec, args.spec["trust_remote_code"], local(args.spec)
    where = f"models.{model['name']}.{'path' if own else 'hub'}"
    made = key(model, fingerprint(roots("prepare", model)))
    made["sources"] = sources(own, where, code, args.state) if own else {}
    if (folder := begin(args.out, made)) is None:
        return
    source = own or fetch(model, folder / SNAPSHOT, where)
    check_folder(source, where, model.get("vision_tower", False), code)
    lean_transformers()
    importlib.import_module(EXAMINE).examine(source, where, code)
    config = read_config(source, where)
    adapter = load_adapter(config, where)
    record = {
        "adapter": adapter.name,
        "model_type": config["model_type"],
        "n_blocks": adapter.n_blocks(config),
        "weight_bytes": stored_bytes(read_headers(source, where)),
    }
    finish(args.out, Model, made, [] if own else model_files(source, where, code), **record)


def sources(folder: Path, where: str, code: bool, state: Path | None) -> dict[str, str]:
    """Digests of a local model's files, which stay where they are."""
    read_config(folder, where)
    found = digests(model_files(folder, where, code), state)
    return {file.relative_to(folder).as_posix(): digest for file, digest in found.items()}


def stored_bytes(headers: dict[str, Header]) -> int:
    """Bytes of the files that hold the weights, without the buffers that the model computes: exports leave them out."""
    files = {header.file: header.file.stat().st_size for header in headers.values()}
    return sum(files.values()) - sum(header.nbytes for name, header in headers.items() if is_recomputed(name))


def fetch(model: dict[str, Any], folder: Path, where: str) -> Path:
    """Download a model of the hub at its pinned revision: the files that a local folder's would be, and no others."""
    from huggingface_hub import HfApi, snapshot_download

    pinned = {"repo_id": model["hub"], "revision": model["revision"]}
    what = f"{where}: cannot fetch {model['hub']}@{model['revision']}"
    with reaching(what, "check the id, the revision, your access (HF_TOKEN) and the network, or give a local path"):
        names = HfApi().list_repo_files(**pinned)
        wanted = wanted_files(names, model["trust_remote_code"])
        snapshot_download(**pinned, local_dir=folder, allow_patterns=wanted)
        weights = wanted_weights(names, folder, where)
        snapshot_download(**pinned, local_dir=folder, allow_patterns=weights)
    for left in folder.rglob("*"):  # of another revision
        inside = left.relative_to(folder)
        if inside.parts[0] != ".cache" and left.is_file() and inside.as_posix() not in {*wanted, *weights}:
            left.unlink()
    return folder


if __name__ == "__main__":
    main()
