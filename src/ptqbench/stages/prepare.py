"""A model: fetched from the hub at its pinned revision, or a local folder as it is. The only stage with network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.errors import UserError, reaching, user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import begin, finish, key
from ptqbench.models.adapter import load_adapter
from ptqbench.models.code import check_code
from ptqbench.models.headers import Header, read_config, read_headers, sampled_digests
from ptqbench.models.recomputed import is_recomputed
from ptqbench.places import SNAPSHOT, local
from ptqbench.records import Model
from ptqbench.stages.common import parser

PATTERNS = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.py"]


@user_facing
def main(argv: list[str] | None = None) -> None:
    args = parser(__doc__ or "").parse_args(argv)
    model, where = args.spec, f"models.{args.spec['name']}"
    own = local(model)
    made = key(model, fingerprint(["ptqbench.stages.prepare"]))
    made["sources"] = sources(own, where) if own else {}
    if (folder := begin(args.out, made)) is None:
        return
    source = own or fetch(model, folder / SNAPSHOT)
    config = read_config(source, where)
    adapter = load_adapter(config, where)
    if model.get("vision_tower") and adapter.tower is None:
        raise UserError(f"{where}.vision_tower is true, and the model has no vision tower: remove the key")
    check_code(source, model["trust_remote_code"], where)
    headers = read_headers(source, where)
    files = [] if own else sorted(file for file in source.rglob("*") if file.is_file())
    record = {
        "adapter": adapter.name,
        "model_type": config["model_type"],
        "n_blocks": adapter.n_blocks(config),
        "weight_bytes": stored_bytes(headers),
    }
    finish(args.out, Model, made, files, **record)


def sources(folder: Path, where: str) -> dict[str, str]:
    """Digests of a local model's files, which stay where they are."""
    read_config(folder, where)
    return sampled_digests(folder)


def stored_bytes(headers: dict[str, Header]) -> int:
    """Bytes of the files that hold the weights, without the buffers that the model computes: exports leave them out."""
    files = {header.file: header.file.stat().st_size for header in headers.values()}
    return sum(files.values()) - sum(header.nbytes for name, header in headers.items() if is_recomputed(name))


def fetch(model: dict[str, Any], folder: Path) -> Path:
    """Download the safetensors, config and tokenizer of a pinned revision."""
    from huggingface_hub import snapshot_download

    patterns = PATTERNS if model["trust_remote_code"] else [p for p in PATTERNS if p != "*.py"]
    where = f"models.{model['name']}.hub: cannot fetch {model['hub']}@{model['revision']}"
    with reaching(where, "check the id, the revision, your access (HF_TOKEN) and the network, or give a local path"):
        path = snapshot_download(model["hub"], revision=model["revision"], local_dir=folder, allow_patterns=patterns)
    return Path(path)


if __name__ == "__main__":
    main()
