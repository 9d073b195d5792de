"""What checkpoints store beside their weights and no model reads: buffers that its code computes from the config.

transformers ignores them when it loads and leaves them out when it saves, and so is done here: early Llamas hold
``self_attn.rotary_emb.inv_freq`` in every block, CLIP towers ``position_ids``, still earlier attentions their mask.
"""

from __future__ import annotations

import re

RECOMPUTED = re.compile(
    r"(^|\.)("
    r"(\w+_)?inv_freq|position_ids"  # non-persistent today, whichever module holds them
    r"|rotary_emb\.\w+|(cos|sin)_cached"  # rotary tables
    r"|embed_scale"  # by which an embedding is multiplied
    r"|masked_bias|(self_)?(attn|attention)\.bias"  # causal masks: the biases of linears have a linear's name before
    r")$"
)


def is_recomputed(name: str) -> bool:
    """Whether the tensor that a checkpoint calls ``name`` is a buffer that the model computes, and no weight."""
    return RECOMPUTED.search(name) is not None
