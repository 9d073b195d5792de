"""What changes the digest of code, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptqbench import fingerprint as module
from ptqbench.fingerprint import fingerprint

A = '''"""Doc."""
from ptqbench import b
from ptqbench.sub.c import thing
import os

def f(x):
    """Doc."""
    return x + 1
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """``a`` imports ``b`` and ``sub.c``; ``b`` imports ``a`` inside a function; nobody imports ``d``."""
    monkeypatch.setattr(module, "SOURCE", tmp_path)
    root = tmp_path / "ptqbench"
    (root / "sub").mkdir(parents=True)
    files = {"a": A, "b": "def g():\n    import ptqbench.a\n", "sub/c": "thing = 1\n", "d": "x = 1\n"}
    for name, text in files.items():
        (root / f"{name}.py").write_text(text)
    clear()
    yield root
    clear()


def clear() -> None:
    for cached in (module._tree, module._digest, module._imports):
        cached.cache_clear()


def digest(*roots: str) -> dict[str, str]:
    clear()
    return fingerprint(roots)


def test_imports_are_followed_to_the_end(package: Path) -> None:
    assert set(digest("ptqbench.a")) == {"ptqbench/a.py", "ptqbench/b.py", "ptqbench/sub/c.py"}
    assert set(digest("ptqbench.b")) == set(digest("ptqbench.a"))
    assert set(digest("ptqbench.d")) == {"ptqbench/d.py"}
    assert set(digest("ptqbench.sub.c", "ptqbench.d")) == {"ptqbench/sub/c.py", "ptqbench/d.py"}


@pytest.mark.parametrize(
    "text",
    [
        A.replace("Doc.", "Other words."),
        A.replace('"""Doc."""\n', ""),
        "# comment\n" + A.replace("x + 1", "(x  +  1)  # one more"),
        A.replace("def f", "\n\n\ndef f"),
    ],
)
def test_words_and_layout_do_not_count(package: Path, text: str) -> None:
    before = digest("ptqbench.a")
    (package / "a.py").write_text(text)
    assert digest("ptqbench.a") == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a", A.replace("x + 1", "x + 2")),
        ("a", A.replace("def f(x)", "def f(x, y=0)")),
        ("a", A.replace("return x", "'not a docstring'; return x")),
        ("sub/c", "thing = '1'\n"),
    ],
)
def test_code_counts(package: Path, file: str, text: str) -> None:
    before = digest("ptqbench.a")
    (package / f"{file}.py").write_text(text)
    after = digest("ptqbench.a")
    assert {name for name in after if after[name] != before[name]} == {f"ptqbench/{file}.py"}


def test_a_file_of_its_own_changes_nothing_else(package: Path) -> None:
    before = digest("ptqbench.a")
    (package / "d.py").write_text("x = 2\n")
    assert digest("ptqbench.a") == before


def test_a_module_that_does_not_exist(package: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ptqbench\.z"):
        digest("ptqbench.z")


def test_the_stages_reach_what_they_compute_with() -> None:
    clear()
    quantize = fingerprint(["ptqbench.stages.quantize", "ptqbench.methods.rounding.gptq"])
    assert {"ptqbench/numbers/grid.py", "ptqbench/linalg/factor.py", "ptqbench/methods/rounding/gptq.py"} <= set(
        quantize
    )
    assert not any(name.startswith("ptqbench/evaluation/") for name in quantize)
    assert "ptqbench/models/skeleton.py" in fingerprint(["ptqbench.stages.statistics"])
