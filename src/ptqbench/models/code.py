"""Python beside a model's weights: what ``auto_map`` names in its configs, run and carried only where it is trusted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ptqbench.errors import UserError
from ptqbench.models.parts import parts
from ptqbench.outside import read_object

TOKENIZER = "tokenizer_config.json"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")
CONFIGS = ("config.json", TOKENIZER, "processor_config.json", "preprocessor_config.json")


def check_code(folder: Path, remote: bool, where: str) -> None:
    """A model that needs code of its own is trusted, and the code is there; ``where`` names the config key.

    The family's own class runs a model whose code is named after its ``model_type``, as the hub's first versions are.
    """
    for place in (folder, *(folder / part for part in parts(folder))):
        for config, kind, reference in references(place, where):
            file = place / module_file(reference)
            if remote and not file.is_file():
                raise UserError(f"{where}: {place / config} names {file.name}, which is not there: fetch it again")
            if not remote and (kind == "AutoTokenizer" or is_other_model(place / config, kind, reference, where)):
                raise UserError(
                    f"{where}: {place / config} names code beside the weights, {reference}: set trust_remote_code: "
                    "true on the model's line if you trust it, or remove the key auto_map there"
                )


def code_files(folder: Path) -> list[str]:
    """The files of one place that its ``auto_map`` keys name, and those that they import from beside themselves."""
    found: dict[str, None] = {}
    waiting = [module_file(reference) for _, _, reference in references(folder, str(folder))]
    while waiting:
        name = waiting.pop()
        if name not in found and (folder / name).is_file():
            found[name] = None
            waiting += [f"{module.replace('.', '/')}.py" for module in relative_imports(tree(folder / name))]
    return sorted(found)


def files_that_code_names(folder: Path) -> list[str]:
    """The files beside the code whose names stand in it, such as a vocabulary with a name of its own."""
    words = {
        node.value
        for name in code_files(folder)
        for node in ast.walk(tree(folder / name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    beside = (file for file in folder.iterdir() if file.name in words and file.is_file())
    return sorted(file.name for file in beside if not file.name.endswith(WEIGHTS))


def references(folder: Path, where: str) -> Iterator[tuple[str, str, str]]:
    """``(config, kind, module.Class)`` of every ``auto_map`` of one place; other repositories' code is not meant."""
    for config in CONFIGS:
        file = folder / config
        found = read_object(file, where).get("auto_map") if file.is_file() else None
        entries = found.items() if isinstance(found, dict) else [("AutoTokenizer", found)]
        for kind, value in entries:
            for reference in value if isinstance(value, list) else [value]:
                if isinstance(reference, str) and is_beside(reference):
                    yield config, kind, reference


def is_beside(reference: str) -> bool:
    """Whether a reference is to a module of the folder: another repository has two hyphens, no name has a slash."""
    module = reference.split(".")
    return len(module) > 1 and all(part.isidentifier() for part in module)


def module_file(reference: str) -> str:
    """``module.py`` of ``module.Class``."""
    return f"{reference.rpartition('.')[0].replace('.', '/')}.py"


def is_other_model(config: Path, kind: str, reference: str, where: str) -> bool:
    """Whether a model's class is no version of the one that its family has."""
    if not kind.startswith("AutoModel") or config.name != CONFIGS[0]:
        return False
    model_type = str(read_object(config, where).get("model_type"))
    name = reference.rpartition(".")[2].lower()
    return not name.startswith(model_type.replace("_", "").lower())


def relative_imports(module: ast.Module) -> Iterator[str]:
    """Modules of the same folder that a module imports."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield from [node.module] if node.module else [alias.name for alias in node.names]


def tree(file: Path) -> ast.Module:
    """A file's syntax tree; nothing of it is run.

    Raises :class:`UserError` for what this version of Python does not read.
    """
    try:
        return ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file} is no Python that this version reads ({error}): fetch it again") from None
