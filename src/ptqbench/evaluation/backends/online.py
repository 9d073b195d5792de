"""Inputs that a checkpoint's ``transform_config`` transforms at run time, in process: transformers ignores it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from compressed_tensors.transform import TransformFactory, TransformScheme
from safetensors import safe_open
from torch import Tensor, nn

from ptqbench.errors import UserError
from ptqbench.models.headers import read_headers


@torch.no_grad()
def transform_inputs(model: nn.Module, folder: Path, config: dict[str, Any]) -> None:
    """Let a loaded model compute ``config``, by the format's own library; the stored weights have their part of it.

    Raises :class:`UserError` where the model lacks a module that ``config`` names.
    """
    modules, headers = dict(model.named_modules()), read_headers(folder, f"checkpoint {folder}")
    for name, group in config["config_groups"].items():
        scheme = TransformScheme.model_validate(group)
        scheme.apply = [place for place in scheme.apply if place.is_online()]
        targets = [target for place in scheme.apply for target in place.targets]
        if unknown := sorted(set(targets) - set(modules)):
            raise UserError(f"the checkpoint {folder} transforms the input of {unknown[0]}, which its model has not")
        TransformFactory.from_scheme(scheme, name=name).apply_to_model(model, use_tqdm=False)
        matrix = f"{targets[0]}.{name}_input.weight"  # one parameter, which all linears of the group share
        if matrix in headers:
            model.get_parameter(matrix).copy_(_read(headers[matrix].file, matrix))


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as stream:
        return stream.get_tensor(name)
