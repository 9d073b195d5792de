"""Which files of a folder are the model: those that transformers and vLLM both read, and no others. Without torch."""

from __future__ import annotations

import os
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path

from ptqbench.errors import UserError
from ptqbench.models.companions import TEMPLATES, is_companion
from ptqbench.models.parts import PARTS, parts, places
from ptqbench.outside import check_file, listing, read_object, shown

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"  # SAFE_WEIGHTS_NAME and …_INDEX_NAME there
READ_BYTES = 512 << 20  # of one of them; the largest tokenizer has 35 MiB
TRUSTED = ("*.py", "*.json", "*.txt")  # where code is run, which may read them


def is_read(name: str, code: bool) -> bool:
    """Whether a file of this name beside the weights is part of the model; ``code``: what lies beside it is trusted."""
    others = TRUSTED if code else ()
    return name in ("config.json", INDEX) or is_companion(name) or any(fnmatch(name, other) for other in others)


def weight_files(folder: Path, where: str) -> list[Path]:
    """The files that hold the tensors of one place: ``model.safetensors``, or the shards of its index.

    transformers reads the file where there are both, and vLLM every file where there is no index: folders that the two
    read differently are refused, and so is an index that leads out of the folder.
    """
    whole, index = folder / WEIGHTS, folder / INDEX
    present = sorted(name for name in listing(folder, where) if name.endswith(".safetensors"))
    if os.path.lexists(index):
        named = sorted(set(shards(index, where).values()))
        if os.path.lexists(whole) and named != [WEIGHTS]:
            raise UserError(
                f"{where}: {folder} has {WEIGHTS} and an index of other files, of which programs read the one or the "
                "other: remove one of them"
            )
        files = [folder / name for name in named]
    elif os.path.lexists(whole):
        if other := next((name for name in present if name != WEIGHTS), None):
            raise UserError(
                f"{where}: {folder} has {shown(other)} beside {WEIGHTS}, and no index says which are the model: "
                "move it away"
            )
        files = [whole]
    elif present:
        raise UserError(
            f"{where}: {folder} has {shown(present[0])} and no {INDEX}, so that it is no model to transformers: "
            f"fetch the index, or rename a single file {WEIGHTS}"
        )
    else:
        raise UserError(f"{where}: {folder} has no *.safetensors weights: download them, or convert .bin files")
    for file in files:
        check_file(file, where)
    return files


def all_weights(folder: Path, where: str) -> list[Path]:
    """The files that hold the tensors of a model, every part's in turn."""
    return [file for place in places(folder) for file in weight_files(folder / place, where)]


def read_files(folder: Path, where: str, code: bool) -> list[Path]:
    """The other files of the model: configs, tokenizer, templates, and the ``code`` beside the weights if trusted.

    Raises :class:`UserError` for one that is too large to be such a file.
    """
    names = [place for part in ["", *parts(folder)] for place in (folder / part, folder / part / TEMPLATES)]
    found = [place / name for place in names if place.is_dir() for name in listing(place, where)]
    files = sorted(file for file in found if is_read(file.name, code) and (file.suffix or not file.is_dir()))
    for file in files:
        if (size := check_file(file, where).st_size) > READ_BYTES:
            raise UserError(f"{where}: {file} has {size} bytes, and at most {READ_BYTES} are read: fetch it again")
    return files


def model_files(folder: Path, where: str, code: bool) -> list[Path]:
    """Every file that the model is."""
    return [*all_weights(folder, where), *read_files(folder, where, code)]


def wanted_weights(names: Collection[str], folder: Path, where: str) -> list[str]:
    """Of a repository's files those with weights, when those of :func:`wanted_files` are in ``folder`` already.

    Raises :class:`UserError` where the repository lacks one.
    """
    found = []
    for before in [f"{part}/" for part in parts(folder)] or [""]:
        index = f"{before}{INDEX}" in names
        inside = {before + name for name in shards(folder / before / INDEX, where).values()} if index else set()
        if f"{before}{WEIGHTS}" in names:
            inside |= {f"{before}{WEIGHTS}"}
        if lost := (inside or {f"{before}{WEIGHTS}"}) - set(names):
            raise UserError(f"{where}: the repository has no {min(lost)}: choose a model with safetensors weights")
        found += sorted(inside)
    return found


def wanted_files(names: Collection[str], code: bool) -> list[str]:
    """Of a repository's files, by their paths, those that :func:`read_files` finds, in parts as well."""
    inside = [part for part in PARTS if f"{part}/config.json" in names]
    folders = {name for part in ["", *inside] for name in (part, f"{part}/{TEMPLATES}".lstrip("/"))}
    return [n for n in names if n.rpartition("/")[0] in folders and is_read(n.rpartition("/")[2], code)]


def shards(index: Path, where: str) -> dict[str, str]:
    """An index's tensors, and the file of the same folder that each is in.

    Raises :class:`UserError` for an index that transformers would not load, or that leads elsewhere.
    """
    content = read_object(index, where)
    if not isinstance(content.get("metadata"), dict):
        raise UserError(f"{where}: {index} has no metadata, an object, without which transformers stops: add it")
    found = content.get("weight_map")
    if not isinstance(found, dict) or not found:
        raise UserError(f"{where}: {index} has no weight_map of tensors to files: fetch it again")
    for name, file in found.items():
        plain = isinstance(file, str) and file == Path(file).name and file.endswith(".safetensors")
        if not plain or not file.isprintable():
            raise UserError(
                f"{where}: {index} places {shown(name)} in {shown(file)}, which is no safetensors file of its folder: "
                "fetch the model again"
            )
    return found
