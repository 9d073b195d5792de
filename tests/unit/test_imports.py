"""transformers comes without scikit-learn, which stays there for whoever asks."""

from __future__ import annotations

import os
import subprocess
import sys

from clone import REPOSITORY

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
