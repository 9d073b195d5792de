"""What transformers imports and a job does not use: scikit-learn with pandas, and scipy; torch, to read a text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Inside, a package that nobody has imported yet cannot be: what asks first does without."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def lean_transformers() -> None:
    """Import transformers' generation and models without scikit-learn and scipy.

    They are for one way of assisted decoding and for losses of models that detect objects. Whoever asks for them
    afterwards (tasks of lm-eval) gets them.
    """
    with hidden("sklearn"), hidden("scipy"):
        import transformers.generation.candidate_generator
        import transformers.modeling_utils  # noqa: F401


def lean_tokenizers() -> None:
    """Import transformers' tokenizers without torch (1.4 CPU seconds for 5.6): for a job that runs no model at all.

    In such a process transformers has no models, whoever asks. Where torch is there already, all is as ever.
    """
    quiet = {"TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}  # it would say that models are not available
    with hidden("sklearn"), hidden("scipy"), hidden("torch"), patch.dict(os.environ, quiet):
        from transformers import AutoTokenizer  # noqa: F401
