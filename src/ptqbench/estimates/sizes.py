"""The sizes of a model that its jobs depend on, from its headers; no weight is read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptqbench.models.adapter import Adapter, load_adapter
from ptqbench.models.headers import Header, read_config, read_headers

Shape = tuple[int, ...]
EXPERT = re.compile(r"\.experts\.\d+\.")


@dataclass(frozen=True)
class SiteSize:
    """An input site: its channels, and the shapes ``[m, n]`` of the linears that read it, none where only floats do."""

    channels: int
    linears: tuple[Shape, ...]


@dataclass(frozen=True)
class Size:
    """A model: bytes of its files and elements of its tensors; sites by block."""

    file_bytes: int  # of its weights
    other_bytes: int  # of the files beside them (tokenizer, config)
    itemsize: int  # bytes of an element of a weight
    parameters: int
    outside: int  # elements of embedding, head and last norm
    blocks: tuple[tuple[SiteSize, ...], ...]
    block_elements: int  # of the largest block, all its tensors
    hidden: int
    vocabulary: int
    context: int | None
    tied: bool  # the head is the embedding
    largest_file: int  # bytes
    block_experts: int = 0  # elements of a block's routed experts
    experts_per_token: int = 0

    @property
    def inputs(self) -> list[SiteSize]:
        """All sites, whose statistics are taken."""
        return [site for block in self.blocks for site in block]

    @property
    def sites(self) -> list[SiteSize]:
        """Those with linears to quantize."""
        return [site for site in self.inputs if site.linears]

    @property
    def linears(self) -> int:
        """Elements of the quantized linears."""
        return sum(math.prod(shape) for site in self.sites for shape in site.linears)

    @property
    def widest(self) -> int:
        """Channels of the widest site."""
        return max((site.channels for site in self.sites), default=0)

    @property
    def block_hessians(self) -> int:
        """Elements of the Hessians of the block that has most."""
        return max((sum(site.channels**2 for site in block) for block in self.blocks), default=0)


def size_of(folder: Path, where: str) -> Size:
    """Read a model's headers. Raises :class:`UserError`, beginning with ``where``, for a folder that is none."""
    config, headers = read_config(folder, where), read_headers(folder, where)
    adapter = load_adapter(config, where).named_as(headers)
    prefixes = [adapter.prefix(block) for block in range(adapter.n_blocks(config))]
    held = {prefix: sum(_elements(headers[name]) for name in headers if name.startswith(prefix)) for prefix in prefixes}
    files = {header.file for header in headers.values()}
    text = adapter.text_config(config)
    total = sum(map(_elements, headers.values()))
    experts = [
        sum(_elements(headers[name]) for name in headers if name.startswith(prefix) and EXPERT.search(name))
        for prefix in prefixes
    ]
    others = [file for file in folder.iterdir() if file.is_file() and file.suffix != ".safetensors"]
    return Size(
        file_bytes=sum(file.stat().st_size for file in files),
        other_bytes=sum(file.stat().st_size for file in others),
        itemsize=max(1, round(sum(header.nbytes for header in headers.values()) / max(1, total))),
        parameters=total,
        outside=total - sum(held.values()),
        blocks=tuple(_sites(adapter, config, headers, block) for block in range(len(prefixes))),
        block_elements=max(held.values(), default=0),
        hidden=int(text.get("hidden_size") or text.get("d_model") or 0),
        vocabulary=int(text.get("vocab_size") or 0),
        context=text.get("max_position_embeddings"),
        tied=f"{adapter.head}.weight" not in headers,
        largest_file=max(file.stat().st_size for file in files),
        block_experts=max(experts, default=0),
        experts_per_token=int(text.get("num_experts_per_tok") or 0) if any(experts) else 0,
    )


def _sites(adapter: Adapter, config: dict[str, Any], headers: dict[str, Header], block: int) -> tuple[SiteSize, ...]:
    found = []
    for site in adapter.sites(config, block):
        prefix = adapter.prefix(block)
        shapes, read = (_shapes(headers, prefix, names) for names in (site.linears, site.readers))
        if shapes or read:
            found.append(SiteSize((*shapes, *read)[0][1], shapes))
    return tuple(found)


def _shapes(headers: dict[str, Header], prefix: str, linears: tuple[str, ...]) -> tuple[Shape, ...]:
    names = (f"{prefix}{linear}.weight" for linear in linears)
    return tuple(headers[name].shape for name in names if name in headers)


def _elements(header: Header) -> int:
    return math.prod(header.shape)
