"""A config with comments for models that someone names: pure functions to text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ptqbench.errors import UserError, did_you_mean
from ptqbench.models.adapter import load_adapter
from ptqbench.models.headers import read_config, read_headers
from ptqbench.pin import commit
from ptqbench.place import home

GROUPS = (128, 64, 32)  # the sizes that formats and kernels know, the usual one first
SEQUENCE = 512  # tokens of a calibration sequence, where the model's context is as long
METHODS = ("rtn", "gptq", "awq", "awq+gptq")  # minutes for small models, and every one is served packed
HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass
class Draft:
    """What a config is written from: ``models`` as under that key, ``methods`` by name, tokens of a ``sequence``."""

    models: dict[str, dict[str, str]] = field(default_factory=dict)
    bits: tuple[int | str, ...] = (4,)  # or number formats of floats
    methods: tuple[str, ...] = METHODS
    group: int = GROUPS[0]
    sequence: int = SEQUENCE

    def add(self, model: str) -> str:
        """Add a folder, or a model of the hub as it is now; the name that it gets.

        Raises :class:`UserError` for what is neither, and where two models have one name.
        """
        folder = Path(model).expanduser()
        if folder.is_dir():
            name, entry = name_of(folder.resolve().name), {"path": str(folder.resolve())}
            group, sequence = fitting(folder, model)
            self.group, self.sequence = min(self.group, group, key=order), min(self.sequence, sequence)
        elif HUB.fullmatch(model):
            name, entry = name_of(model.rpartition("/")[2].lower()), {"hub": model, "revision": commit(model)}
        else:
            raise UserError(f"there is no folder '{model}', and it is no id of the hub (OWNER/NAME): correct it")
        if name in self.models and self.models[name] != entry:
            raise UserError(f"'{model}' and another model are both named {name}: give them in two configs")
        self.models[name] = entry
        return name

    def scheme(self, bits: int | str) -> tuple[str, dict[str, Any]]:
        """Name and line of a bit-width's scheme; 8 bits need no groups, and a number format nothing else."""
        if isinstance(bits, str):
            return bits, {"number": bits}
        if bits == 8:
            return "w8", {"bits": 8, "symmetric": True}
        if self.group < 0:
            return f"w{bits}", {"bits": bits}
        return f"w{bits}g{self.group}", {"bits": bits, "group_size": self.group}


def order(group: int) -> int:
    """Smaller groups divide what larger ones do; one for a whole row (-1) always fits."""
    return group if group > 0 else 0


def name_of(text: str) -> str:
    """A name that a config may have."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-._+") or "model"


def fitting(folder: Path, where: str) -> tuple[int, int]:
    """The largest usual group size that divides every linear's inputs (else -1), and tokens of a sequence."""
    config, headers = read_config(folder, where), read_headers(folder, where)
    adapter = load_adapter(config, where).named_as(headers)
    linears = (
        f"{adapter.prefix(block)}{linear}.weight"
        for block in range(adapter.n_blocks(config))
        for site in adapter.sites(config, block)
        for linear in site.linears
    )
    widths = {headers[name].shape[1] for name in linears if name in headers}
    context = adapter.text_config(config).get("max_position_embeddings", SEQUENCE)
    return next((g for g in GROUPS if all(width % g == 0 for width in widths)), -1), min(SEQUENCE, context)


def known_methods() -> dict[str, Any]:
    """The methods of the config that comes with the workflow."""
    found: dict[str, Any] = yaml.safe_load((home() / "config.yaml").read_text(encoding="utf-8"))["methods"]
    return found


def chosen(names: tuple[str, ...]) -> dict[str, Any]:
    """The lines of methods that are named.

    Raises :class:`UserError` for a name that is not known.
    """
    known = known_methods()
    for name in names:
        if name not in known:
            raise UserError(f"--methods names '{name}'{did_you_mean(name, known)}")
    return {name: known[name] for name in names}


def text_of(draft: Draft, head: str) -> str:
    """The config, with ``head`` as its first comment."""
    texts = home() / "resources/text"
    corpora = {
        "wikitext2": str(texts / "wikitext-2-raw.test.txt.zst"),
        "gutenberg": str(texts / "gutenberg_heldout.test.txt.zst"),
    }
    calibration = {
        "corpus": str(texts / "wikitext-2-raw.valid.txt.zst"),
        "samples": 128,
        "sequence_length": draft.sequence,
        "seed": 0,
    }
    schemes = dict(draft.scheme(bits) for bits in draft.bits)
    suite = {"kind": "perplexity", "corpora": corpora, "limit": 64}
    grid = {"models": list(draft.models), "methods": list(draft.methods), "schemes": list(schemes)}
    lines = [
        f"# {head}",
        "# A model, calibration set, scheme, method or suite is one line; the grid says which are combined.",
    ]
    lines += section("models", draft.models, "a folder with safetensors, or a model of the hub at a commit")
    lines += section(
        "calibration", {"wikitext2": calibration}, "a local text, or wikitext2, c4, ptb, pile from the hub"
    )
    lines += section(
        "schemes", schemes, "bits 2 to 8; group_size: input channels that share a scale, -1 a whole row; or a number"
    )
    lines += section("methods", chosen(draft.methods), "compositions; `ptqbench methods` shows what there is")
    lines += section("suites", {"perplexity": suite}, "limit: windows of each text; kind: tasks runs lm-eval's")
    lines += ["", "grid:", f"  - {flow({**grid, 'suites': ['perplexity']})}"]
    return "\n".join(lines) + "\n"


def section(name: str, entries: dict[str, Any], comment: str) -> list[str]:
    """A section of the config: its comment, and a line for each entry."""
    return ["", f"# {comment}", f"{name}:", *(f"  {key}: {flow(value)}" for key, value in entries.items())]


def flow(value: dict[str, Any]) -> str:
    """A mapping on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.strip()
