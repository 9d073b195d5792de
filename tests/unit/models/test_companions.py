"""What belongs to a model beside its weights: no name that transformers reads is forgotten, nothing else is carried."""

from __future__ import annotations

import importlib
import json
import pkgutil
from contextlib import suppress
from pathlib import Path

import pytest
import transformers.models
from transformers import PreTrainedTokenizerBase

from ptqbench.errors import UserError
from ptqbench.models.code import check_code, code_files, files_that_code_names
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


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 9999, b'"auto_map"'])
def test_a_config_that_is_no_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer_config\.json"):
        check_code(tmp_path, False, "here")


@pytest.mark.parametrize(
    "found", [7, "x", {"AutoTokenizer": 7}, {"AutoTokenizer": [None]}, ["../../a.B"], ["o/r--a.B"]]
)
def test_an_auto_map_that_names_nothing_beside_the_weights(tmp_path: Path, found: object) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": found}))
    check_code(tmp_path, False, "here")
    assert code_files(tmp_path) == []


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
