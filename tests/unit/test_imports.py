"""transformers comes without scikit-learn, which stays there for whoever asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import torch  # noqa: F401 (as in a process that runs models)
from clone import REPOSITORY

from ptqbench.models.parts import text_folder
from ptqbench.stages.calibrate import FILE, is_plain, text

MODELS = REPOSITORY / "resources/models"
ENV = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
LEAN = """
import sys
from ptqbench.imports import lean_transformers
lean_transformers()
from transformers import AutoModelForCausalLM, LlamaForCausalLM
print(sorted({"sklearn", "scipy", "pandas"} & set(sys.modules)))
import sklearn.metrics
print(sklearn.metrics.f1_score([0, 1], [0, 1]))
"""


def test_transformers_comes_without_scikit_learn() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=True, env=ENV)
    assert done.stdout.split("\n")[:2] == ["[]", "1.0"]


def test_what_is_there_already_stays() -> None:
    code = "import json\nfrom ptqbench.imports import hidden\nwith hidden('json'):\n    import json\n    json.dumps(1)"
    subprocess.run([sys.executable, "-c", code], check=True, env=ENV)


TOKENIZERS = """
import sys
from pathlib import Path
from ptqbench.stages.calibrate import text
settings = {"name": "c", "corpus": sys.argv[2], "samples": 4, "sequence_length": 32, "seed": 0}
text(settings, Path(sys.argv[1]), Path(sys.argv[3]), False)
print("torch" in sys.modules, "transformers.modeling_utils" in sys.modules)
import torch
print(float(torch.ones(1)))
"""


def test_a_text_is_read_without_torch_and_the_tokens_are_the_same(tmp_path: Path) -> None:
    """Here torch is there already, and all is as ever."""
    folder, corpus = MODELS / "pocket-vila", tmp_path / "t.txt"
    corpus.write_text((REPOSITORY / "CHANGELOG.md").read_text())
    settings = {"name": "c", "corpus": str(corpus), "samples": 4, "sequence_length": 32, "seed": 0}
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    text(settings, folder, tmp_path / "here", False)
    command = [sys.executable, "-c", TOKENIZERS, str(folder), str(corpus), str(tmp_path / "there")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENV)
    assert (done.stdout.split("\n")[:2], done.stderr) == (["False False", "1.0"], "")
    here, there = (pq.read_table(tmp_path / place / FILE) for place in ("here", "there"))
    assert here.equals(there)


def test_only_a_tokenizer_of_transformers_own_does_without(tiny_model: Path, tmp_path: Path) -> None:
    """Not one beside code that is run, of a model that transformers does not know, or whose class no file names."""
    folders = {folder.name: text_folder(folder) for folder in MODELS.iterdir()}
    assert {name for name, folder in folders.items() if not is_plain(folder, False)} == {"pocket-deepseek"}
    assert not any(is_plain(folder, True) for folder in folders.values())
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((tiny_model / "config.json").read_text())
    assert not is_plain(bare, False)
