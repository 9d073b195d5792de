"""The scripts of ``benchmarks/``, as modules."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from clone import REPOSITORY


def script(name: str) -> ModuleType:
    """``benchmarks/<name>.py``, with what lies beside it to import."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", REPOSITORY / f"benchmarks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "benchmarks")
        spec.loader.exec_module(module)
    return module
