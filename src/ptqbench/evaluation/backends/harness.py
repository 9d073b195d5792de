"""lm-eval's ``local-completions`` with the tokens that its in-process model would see."""

from __future__ import annotations

from typing import Any

from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.models.utils import has_bos_prefix


class Served(LocalCompletionsAPI):  # type: ignore[misc]
    """By default lm-eval sends an API no BOS, whatever the tokenizer says; here the tokenizer decides, as in HFLM."""

    def tok_encode(
        self,
        string: Any,
        left_truncate_len: int | None = None,
        add_special_tokens: bool | None = None,
        truncation: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Token ids of a text, or of each of several texts."""
        if not isinstance(string, str):
            return [self.tok_encode(one, left_truncate_len, add_special_tokens) for one in string]
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            special["add_special_tokens"] = False
        ids = self.tokenizer.encode(string, **special)
        return ids[-left_truncate_len:] if left_truncate_len else ids
