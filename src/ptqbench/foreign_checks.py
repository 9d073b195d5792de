"""Checks of checkpoints that somebody else quantized, without torch, before any work.

Each ``check_…`` raises :class:`UserError` for what is not so as its docstring says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ptqbench import outside, spec
from ptqbench.cells import Cell
from ptqbench.errors import UserError, did_you_mean
from ptqbench.formats import foreign
from ptqbench.formats.choice import served
from ptqbench.formats.layout import Layout
from ptqbench.model_checks import check_index, has_tokenizer
from ptqbench.models.adapter import load_adapter
from ptqbench.models.code import check_code
from ptqbench.models.files import read_files
from ptqbench.models.headers import Header, read_config, read_headers

Config = dict[str, Any]
ALIKE = ("vocab_size", "hidden_size", "num_hidden_layers")  # of a checkpoint and its float model


def check_named(config: Config) -> None:
    """A checkpoint is of a model that the grid evaluates, and has a name that no method or model has."""
    evaluated = {model for block in config["grid"] for model in block["models"]}
    for name, line in config.get("checkpoints", {}).items():
        where, model = f"config: checkpoints.{name}", line["of"]
        for section in ("methods", "models"):
            if name in config[section]:
                raise UserError(f"{where} has the name of one of the {section}: rename one of them")
        if model not in config["models"]:
            raise UserError(f"{where}.of is '{model}'{did_you_mean(model, config['models'])}")
        if model not in evaluated:
            raise UserError(f"{where}.of is '{model}', which no grid entry names: name it in one, or remove the line")


def check_theirs(config: Config, evaluations: Iterable[tuple[Cell, str]], root: Path) -> None:
    """Every local checkpoint is a whole one of its model, and its suites' backends read it."""
    for cell, suite in evaluations:
        line = config["checkpoints"][cell.method] if spec.is_theirs(cell) else {}
        if "path" not in line:
            continue
        where, model = f"config: checkpoints.{cell.method}.path", config["models"][cell.model]
        floats = root / model["path"] if "path" in model else None
        settings = check_folder(root / line["path"], where, line.get("trust_remote_code", False), cell.model, floats)
        kind = str(read_config(root / line["path"], where)["model_type"])
        backend, _ = served(spec.backend_of(config, suite), Layout.of(spec.quantize_spec(config, *cell)), kind)
        foreign.check_read(settings["quant_method"], backend, f"{where} is '{line['path']}', which", suite)


def check_folder(folder: Path, where: str, code: bool, model: str, floats: Path | None) -> dict[str, Any]:
    """Refuse a folder that is no whole quantized checkpoint of ``model``, whose float folder is ``floats`` if local.

    Returns its ``quantization_config``.
    """
    config, said = read_config(folder, where), f"{where} is '{folder}', which"
    settings = foreign.settings_of(config, said)
    with outside.foreign(f"{said} has a quantization_config that cannot be understood"):
        foreign.told(settings)
    check_code(folder, code, where)
    adapter = load_adapter(config, f"{where}: {folder}")
    check_index(folder, read_headers(folder, where), where)
    read_files(folder, where, code)
    if not has_tokenizer(folder, where):
        raise UserError(f"{said} has no tokenizer: copy tokenizer.json there")
    if floats is not None:
        other = read_config(floats, f"models.{model}")
        check_alike(config["model_type"], other["model_type"], "model_type", said, model)
        own, others = adapter.text_config(config), adapter.text_config(other)
        for key in ALIKE:
            check_alike(own.get(key), others.get(key), key, said, model)
    return settings


def check_alike(own: Any, other: Any, key: str, said: str, model: str) -> None:
    """A checkpoint has its model's value of a key of the config."""
    if own != other:
        raise UserError(f"{said} has a {key} of {own}, and model '{model}' of {other}: correct `of`, or the path")


def stored(folder: Path, floats: Path, where: str) -> tuple[dict[str, Header], int, int]:
    """A checkpoint's headers, the bytes of its quantized weights, and how many of those of ``floats`` they are.

    Raises :class:`UserError` where nothing in it is quantized.
    """
    headers = read_headers(folder, where)
    size, count = foreign.quantized(headers, read_headers(floats, where))
    if not size or not count:
        raise UserError(
            f"{where} is '{folder}', whose config.json has a quantization_config, and whose tensors are those of the "
            "float model: remove that key, and give it under models"
        )
    return headers, size, count
