"""What transformers imports and nothing here uses: scikit-learn, with scipy and pandas a quarter of its import."""

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
    """Import transformers' generation, which wants scikit-learn for one way of assisted decoding, without it.

    Whoever asks for scikit-learn afterwards (tasks of lm-eval) gets it.
    """
    with hidden("sklearn"):
        import transformers.generation.candidate_generator  # noqa: F401
