"""What transformers imports and nothing here uses: scikit-learn with pandas, and scipy; a third of its import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
