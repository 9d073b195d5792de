"""What belongs to a model beside its weights: no name that transformers reads is forgotten, nothing else is carried."""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import suppress
from pathlib import Path

import pytest
import transformers.models
from transformers import PreTrainedTokenizerBase

from ptqbench.errors import UserError
from ptqbench.models.code import code_files, files_that_code_names
from ptqbench.models.companions import companions, is_companion


def names_that_tokenizers_read() -> set[str]:
    """``vocab_files_names`` of every tokenizer that this environment can import."""
    for family in pkgutil.iter_modules(transformers.models.__path__):
        for module in pkgutil.iter_modules([f"{transformers.models.__path__[0]}/{family.name}"]):
            if module.name.startswith("tokenization_"):
                with suppress(ImportError, NameError):  # of a library that is not here
                    importlib.import_module(f"transformers.models.{family.name}.{module.name}")
    found, waiting = set(), [PreTrainedTokenizerBase]
    while waiting:
        kind = waiting.pop()
        found |= set((kind.vocab_files_names or {}).values()) if kind.__module__.startswith("transformers.") else set()
        waiting += kind.__subclasses__()
    return {name for name in found if name}


def test_every_file_that_a_tokenizer_of_transformers_reads() -> None:
    found = names_that_tokenizers_read()
    assert {"tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "vocab.txt"} <= found
    assert len(found) > 20
    assert {name for name in found if not is_companion(name)} == set()


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "params.json",
        "README.md",
        "code.py",
        "pytorch_model.bin",
    ],
)
def test_what_is_written_anew_or_is_no_part_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    assert companions(tmp_path, remote=True) == []


def test_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_files").mkdir()
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates/tool.jinja").touch()
    (tmp_path / "additional_chat_templates/notes.txt").touch()
    assert companions(tmp_path, remote=False) == ["additional_chat_templates/tool.jinja"]


def test_code_is_followed_through_its_imports(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "a.A", "AutoModel": "other/repo--z.Z"}}')
    files = {
        "a.py": "from .b import B",
        "b.py": "from . import c, d\nNAME = 'x.bin2'",
        "c.py": "from .a import A",
        "e.py": "",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "x.bin2").touch()
    assert code_files(tmp_path) == ["a.py", "b.py", "c.py"]
    assert files_that_code_names(tmp_path) == ["x.bin2"]
    (tmp_path / "c.py").write_text("def")
    with pytest.raises(UserError, match=r"c\.py is no Python that this version reads"):
        code_files(tmp_path)
