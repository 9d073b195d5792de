"""What every backend knows of a checkpoint before it runs it: its tokenizer and its longest context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from ptqbench.data.images import TURN, Item
from ptqbench.errors import UserError
from ptqbench.evaluation.perplexity import LONGEST_WINDOW
from ptqbench.models.headers import read_config
from ptqbench.models.parts import text_folder

# the system prompt of Vicuna, on which LLaVA and VILA are built, for checkpoints without a chat template
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


@dataclass(frozen=True)
class Setup:
    """How to evaluate a checkpoint.

    ``length`` is the longest prompt of the suite, ``compiled`` whether speed matters more than a quick start; ``flags``
    are those of the checkpoint's format, ``marker`` the serving environment's (None: this Python's own vLLM), ``log``
    takes what the server writes, and ``gpus`` share the model where the device is one. ``logprobs`` are how many of the
    likeliest tokens a suite asks for.
    """

    backend: str
    device: str
    remote: bool
    length: int
    compiled: bool
    flags: tuple[str, ...]
    marker: Path | None
    log: Path
    gpus: int = 1
    logprobs: int = 0


class Text:
    """A checkpoint folder's config and tokenizer."""

    def __init__(self, folder: Path, remote: bool) -> None:
        self.folder, self.remote = folder, remote
        self.config: Any = AutoConfig.from_pretrained(text_folder(folder), trust_remote_code=remote)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(text_folder(folder), trust_remote_code=remote)

    @property
    def context(self) -> int:
        """Positions that the model was made for; a state space has none, and gets as many as windows ever have."""
        return int(getattr(self.config.get_text_config(), "max_position_embeddings", LONGEST_WINDOW))

    def tokenize(self, text: str) -> list[int]:
        """Token ids with the tokenizer's own special tokens: one BOS, at the very start, where it has one."""
        ids: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        return ids

    @property
    def first_token(self) -> int:
        """What a text without words before it is scored behind: BOS, or else EOS, of the tokenizer or of the config.

        Raises :class:`UserError` where there is none.
        """
        found = first_token(self.tokenizer, self.folder)
        if found is None:
            raise UserError(
                f"{self.folder}: neither the tokenizer nor config.json has a token that begins or ends a text, which "
                "tasks need: add bos_token to tokenizer_config.json"
            )
        return found

    def prompt(self, item: Item) -> str:
        """A question in the model's own chat format, ``<image>`` in the image's place."""
        parts = [{"type": "image"}, {"type": "text", "text": item.question + item.request}]
        turn = [{"role": "user", "content": parts}]
        if not self.tokenizer.chat_template:
            return VICUNA + TURN.format(item.question + item.request)
        rendered: str = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        return rendered


def first_token(tokenizer: Any, folder: Path) -> int | None:
    """BOS, or else EOS, by the tokenizer, or else by the model's ``config.json``."""
    config = read_config(text_folder(folder), str(folder))
    named = [
        source.get(key)
        for key in ("bos_token_id", "eos_token_id")
        for source in (config, config.get("text_config", {}))
    ]
    known = [one[0] if isinstance(one, list) and one else one for one in named]
    given = [tokenizer.bos_token_id, tokenizer.eos_token_id, *known]
    return next((one for one in given if isinstance(one, int) and 0 <= one < len(tokenizer)), None)
