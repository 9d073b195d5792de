"""The files beside a model's weights that decide what it reads and says: tokenizer, templates, processors, code.

Exported checkpoints carry them. Names are those that any tokenizer or processor of transformers reads (a test asks all
of them); files that trusted code names are carried as well, so that nothing need be run to find them.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from ptqbench.models.code import code_files, files_that_code_names

TEMPLATES = "additional_chat_templates"
READ = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "tiktoken.*",
    "tekken.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.json",
    "*.jinja",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    # of tokenizers of other families, which a checkpoint may name all the same
    "bpe.codes",
    "byte_maps.json",
    "dict.txt",
    "emoji.json",
    "entity_vocab.json",
    "normalizer.json",
    "*_vocab.json",
    "prophetnet.tokenizer",
    "word_pronunciation.json",
    "word_shape.json",
)


def companions(folder: Path, remote: bool) -> list[str]:
    """The paths of such files inside one place of a model; ``remote``: the code beside the weights is trusted."""
    names = {file.name for file in folder.iterdir() if file.is_file() and is_companion(file.name)}
    names |= {f"{TEMPLATES}/{file.name}" for file in (folder / TEMPLATES).glob("*.jinja") if file.is_file()}
    names |= {*code_files(folder), *files_that_code_names(folder)} if remote else set()
    return sorted(names - {"config.json"})


def is_companion(name: str) -> bool:
    """Whether a file of this name is carried whoever made it."""
    return any(fnmatch(name, pattern) for pattern in READ)
