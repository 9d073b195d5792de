"""A GGUF file as a model folder that everything else reads: weights dequantized by transformers' own loader.

What such weights have lost is lost; the folder's card says what they were.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import torch

from ptqbench.atomic import write_text
from ptqbench.errors import UserError
from ptqbench.outside import foreign

CARD = "README.md"


def dequantize(file: Path, folder: Path, dtype: torch.dtype) -> dict[str, int]:
    """Write ``folder``: config, tokenizer, weights in ``dtype`` and a card; how many tensors were of which type.

    Raises :class:`UserError` where the file is no GGUF model that transformers reads, or the folder is there.
    """
    kinds = tensor_types(file)
    if folder.exists():
        raise UserError(f"{folder} is there already: remove it, or name another folder")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with foreign(f"{file} is no model that transformers reads as GGUF"):
        options: dict[str, Any] = {"gguf_file": file.name}
        read: Any = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    config = read.config
    del config.quantization_config
    config.dtype = dtype
    made: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    made.load_state_dict(read.state_dict())
    made.generation_config = read.generation_config
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:  # whole, or not there
        temporary = Path(beside) / folder.name
        made.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_text(temporary / CARD, card(file, kinds, dtype))
        for written in temporary.iterdir():  # some libraries write for this user alone
            written.chmod((temporary / CARD).stat().st_mode)
        temporary.rename(folder)
    return kinds


def tensor_types(file: Path) -> dict[str, int]:
    """How many of a GGUF file's tensors are of which type. Raises :class:`UserError` for what is none."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UserError("GGUF is read by the package gguf: pip install -r envs/real.txt") from error
    if not file.is_file():
        raise UserError(f"there is no file {file}: correct the path")
    with foreign(f"{file} is no GGUF file"):
        found: dict[str, int] = {}
        for tensor in GGUFReader(file).tensors:
            found[tensor.tensor_type.name] = found.get(tensor.tensor_type.name, 0) + 1
        return found


def card(file: Path, kinds: dict[str, int], dtype: torch.dtype) -> str:
    """What the weights were."""
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    listed = ", ".join(f"{count} of {name}" for name, count in sorted(kinds.items()))
    return (
        f"# {file.stem}, dequantized\n\nThe weights of `{file.name}` (sha256 `{digest}`), which were {listed}, read by "
        f"transformers and stored as {str(dtype).removeprefix('torch.')}. What that quantization lost is lost: figures "
        "measured on them are of this model, not of the one that the file was made of.\n"
    )
