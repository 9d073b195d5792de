"""The hub's models by their present commits, which do not move."""

from __future__ import annotations

from ptqbench.errors import UserError


def pinned(asked: list[str]) -> list[str]:
    """YAML lines of ``models`` for ``NAME=HUB_ID`` (or ``HUB_ID``, named by its last part)."""
    pairs = [text.rpartition("=")[::2] for text in asked]
    named = [(name or hub.rpartition("/")[2].lower(), hub) for name, hub in pairs]
    return ["models:", *(f"  {name}: {{hub: {hub}, revision: {commit(hub)}}}" for name, hub in named)]


def commit(hub: str) -> str:
    """The 40 hex digits of a model's newest commit. Raises :class:`UserError` where the hub does not answer."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        found = HfApi().model_info(hub).sha
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"cannot ask the hub for {hub} ({type(error).__name__}): "
            "check the id, your access (HF_TOKEN) and the network"
        ) from error
    return str(found)
