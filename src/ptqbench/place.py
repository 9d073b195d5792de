"""Where the workflow is that belongs to this code."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def home() -> Path:
    """The folder of the Snakefile: the checkout that this file is part of, or what was installed with the package."""
    checkout = PACKAGE.parents[1]
    return checkout if (checkout / "Snakefile").is_file() else PACKAGE / "home"
