"""Checks of a model's folder that need no torch, before any work; ``models/examine.py`` does those that do.

Each ``check_…`` raises :class:`UserError` for what is not so as its docstring says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.errors import UserError, about
from ptqbench.models.adapter import Adapter, load_adapter
from ptqbench.models.code import check_code, references
from ptqbench.models.files import INDEX, read_files, shards
from ptqbench.models.headers import Header, read_config, read_headers
from ptqbench.models.parts import parts, places
from ptqbench.models.settings import context
from ptqbench.outside import check_file, foreign, shown
from ptqbench.schemes import rows

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
FLOATS = ("F64", "F32", "F16", "BF16")
QUANTIZED = ("quantization_config", "compression_config")  # the older name in compressed-tensors

Shapes = dict[str, tuple[int, ...]]


def read_shapes(model: str, folder: Path, line: dict[str, Any]) -> Shapes:
    """Shapes of the linears to quantize of a local model, by checkpoint name; ``line`` is its own of the config."""
    where = f"config: models.{model}.path"
    return check_folder(folder, where, line.get("vision_tower", False), line.get("trust_remote_code", False))


def check_folder(folder: Path, where: str, tower: bool, code: bool) -> Shapes:
    """Refuse a folder that is no whole float model of a described family; returns the shapes of its linears."""
    settings = read_config(folder, where)
    check_code(folder, code, where)
    check_float(settings, folder, where)
    adapter = load_adapter(settings, f"{where}: {folder}")
    if tower and adapter.tower is None:
        raise UserError(
            f"{where.rpartition('.')[0]}.vision_tower is true, and the model has no vision tower: remove the key"
        )
    headers = read_headers(folder, where)
    check_index(folder, headers, where)
    adapter = adapter.named_as(headers)
    adapter = adapter.with_tower(settings, headers) if tower else adapter
    read_files(folder, where, code)
    if not has_tokenizer(folder, where):
        raise UserError(f"{where} is '{folder}', which has no tokenizer: copy tokenizer.json there")
    with about(f"{where} is '{folder}'"):
        return linear_shapes(adapter, settings, headers)


def has_tokenizer(folder: Path, where: str) -> bool:
    """Whether a file that holds a tokenizer is there, or code that may read its own from any."""
    at = [folder, *(folder / part for part in parts(folder))]
    own = any(kind == "AutoTokenizer" for place in at for _, kind, _ in references(place, where))
    return own or any((place / name).is_file() for place in at for name in TOKENIZERS)


def check_float(settings: dict[str, Any], folder: Path, where: str) -> None:
    """Refuse a model whose config says that its weights are quantized, and one that is an adapter's base or part."""
    for inner in (settings, *(value for value in settings.values() if isinstance(value, dict))):
        for key in QUANTIZED:
            if inner.get(key):
                raise UserError(
                    f"{where} is '{folder}', whose config.json has a {key}: give the float model that it was made of"
                )
    if settings.get("transformers_weights"):
        other = shown(settings["transformers_weights"])
        raise UserError(f"{where} is '{folder}', whose config.json names other weights ({other}): remove that key")
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{where} is '{folder}', which holds an adapter (adapter_config.json): merge it, or move it away"
        )


def check_index(folder: Path, headers: dict[str, Header], where: str) -> None:
    """Every tensor that an index names is there."""
    for part in places(folder):
        index, before = folder / part / INDEX, f"{part}." if part else ""
        named = shards(index, where) if index.is_file() else {}
        if lost := next((name for name in named if before + name not in headers), None):
            raise UserError(f"{where}: {index} names {shown(lost)}, and {named[lost]} lacks it: fetch the model again")


def linear_shapes(adapter: Adapter, settings: dict[str, Any], headers: dict[str, Header]) -> Shapes:
    """The shapes of every site's linears, which have to be matrices of floats.

    Raises :class:`UserError` for one that is missing or no such matrix.
    """
    found: Shapes = {}
    for block in range(adapter.n_blocks(settings)):
        for site in adapter.sites(settings, block):
            for linear in site.linears:
                name = f"{adapter.prefix(block)}{linear}.weight"
                if name not in headers:
                    raise UserError(f"it lacks the tensor {name}: fetch the model again")
                header = headers[name]
                if header.dtype not in FLOATS or len(header.shape) != 2 or 0 in header.shape:
                    raise UserError(
                        f"{name} is {header.dtype} {list(header.shape)}, no matrix of floats: give the float model"
                    )
                found[name] = header.shape
    return found


def check_groups(scheme: str, settings: dict[str, Any], model: str, shapes: Shapes) -> None:
    """A group size divides the input channels of every linear, and a block's rows its output channels."""
    group, block = settings["group_size"], rows(settings)
    for name, shape in shapes.items():
        if block > 1 and shape[0] % block:
            raise UserError(
                f"config: schemes.{scheme}.number is '{settings['number']}', whose blocks of {block} do not divide the "
                f"{shape[0]} output channels of {name} in model '{model}': choose fp8"
            )
        if group > 0 and shape[1] % group and "number" in settings:
            raise UserError(
                f"config: schemes.{scheme}.number is '{settings['number']}', whose groups of {group} do not divide the "
                f"{shape[1]} input channels of {name} in model '{model}': choose fp8, or integers"
            )
        if group > 0 and shape[1] % group:
            raise UserError(
                f"config: schemes.{scheme}.group_size is {group}, which does not divide the {shape[1]} input "
                f"channels of {name} in model '{model}': choose a divisor of {shape[1]}, or -1"
            )


def check_context(where: str, length: int | None, model: str, folder: Path | None) -> None:
    """No sequence is longer than a local model's context; ``where`` names the key that gives its ``length``."""
    if length is None or folder is None:
        return
    settings = read_config(folder, f"config: models.{model}.path")
    longest = context(load_adapter(settings, str(folder)).text_config(settings))
    if longest is not None and length > longest:
        raise UserError(
            f"config: {where} is {length}, and model '{model}' has a context of {longest} tokens: "
            f"set it to at most {longest}"
        )


def read_tokenizer(file: Path, where: str) -> Any:
    """The tokenizer in a ``tokenizer.json``, without the truncation and padding that it may keep of its training."""
    from tokenizers import Tokenizer

    check_file(file, where)
    with foreign(f"{where}: {file} is no tokenizer"):
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
