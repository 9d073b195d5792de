"""Exported folders read text as their sources do, whatever form the tokenizer has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers_of_old import FORMS, TEMPLATE, TEXT, write
from transformers import AutoTokenizer, LlamaForCausalLM

from ptqbench import spec
from ptqbench.evaluation.backends import transformers as backend
from ptqbench.manifest import canonical
from ptqbench.stages import export, prepare

# `chain` comes from conftest.py: its weights and codes serve every tokenizer

CELL = ("tiny", "text", "gptq", "w3g32")


def with_tokenizer(chain: Any, folder: Path, form: str) -> Path:
    """The chain's model with another tokenizer."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(chain.root / "model" / name, folder)
    FORMS[form](folder)
    return folder


def exported(chain: Any, source: Path, out: Path, remote: bool = True) -> Path:
    """The checkpoint that the stages make of a folder with the chain's codes."""
    config = {**chain.config, "models": {"tiny": {"path": str(source), "trust_remote_code": remote}}}
    model = out / "model/manifest.json"
    prepare.main(["--spec", canonical(spec.model_spec(config, "tiny")), "--out", str(model)])
    asks = canonical(spec.export_spec(config, *CELL))
    inputs = ["--model", str(model), "--quantized", str(chain.quantized)]
    export.main(["--spec", asks, "--out", str(out / "packed/manifest.json"), *inputs])
    return out / "packed/checkpoint"


@pytest.mark.parametrize("form", FORMS)
def test_both_tokenizers_read_text_alike(chain: Any, tmp_path: Path, form: str) -> None:
    source = with_tokenizer(chain, tmp_path / "model", form)
    folder = exported(chain, source, tmp_path / "out")
    before, after = (AutoTokenizer.from_pretrained(place, trust_remote_code=True) for place in (source, folder))
    assert type(before).__name__ == type(after).__name__
    assert before(TEXT)["input_ids"] == after(TEXT)["input_ids"]
    assert before.get_vocab() == after.get_vocab()
    assert before.special_tokens_map == after.special_tokens_map
    assert before.chat_template == after.chat_template
    carried = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    made = {"config.json", "model.safetensors"}
    assert carried - made == {f.relative_to(source).as_posix() for f in source.rglob("*") if f.is_file()} - made - {
        "unrelated.py"
    }
    if form in ("fast", "gpt2"):
        assert TEMPLATE in str(after.chat_template)
    if form == "gpt2":
        assert len(before(TEXT)["input_ids"]) < len(before(TEXT.replace("<tool>", "<-tool->"))["input_ids"])
    if form == "own_code":
        assert after.__class__.__module__.startswith("transformers_modules")


def test_code_that_is_not_trusted_is_refused_before_any_work(chain: Any, tmp_path: Path, capsys: Any) -> None:
    source = with_tokenizer(chain, tmp_path / "model", "own_code")
    with pytest.raises(SystemExit) as refused:
        exported(chain, source, tmp_path / "out", remote=False)
    line = str(refused.value)
    assert "tokenization_mine.Mine: set trust_remote_code: true on the model's line" in line
    assert "\n" not in line
    (source / "tokenization_mine.py").unlink()
    with pytest.raises(SystemExit) as missing:
        exported(chain, source, tmp_path / "out")
    assert "names tokenization_mine.py, which is not there" in str(missing.value)


MODEL = '''
from transformers import LlamaForCausalLM

from .scaling import FACTOR


class Mine(LlamaForCausalLM):
    """Logits that no Llama has."""

    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        found.logits = found.logits * FACTOR
        return found
'''


def test_a_model_class_beside_the_weights_is_run_and_carried(chain: Any, tmp_path: Path) -> None:
    source = with_tokenizer(chain, tmp_path / "model", "fast")
    config = json.loads((source / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_mine.Mine"}
    write(source, {"modeling_mine.py": MODEL, "scaling.py": "FACTOR = 0.5\n", "config.json": json.dumps(config)})
    with pytest.raises(SystemExit, match=r"modeling_mine.Mine: set trust_remote_code"):
        exported(chain, source, tmp_path / "out", remote=False)
    folder = exported(chain, source, tmp_path / "out")
    assert (folder / "scaling.py").is_file()
    opened = backend.Backend(folder, "cpu", remote=True)
    assert type(opened.model).__name__ == "Mine"
    assert json.loads((folder / "config.json").read_text())["auto_map"] == config["auto_map"]


def test_a_familys_own_code_needs_no_trust_and_stays_behind(chain: Any, tmp_path: Path) -> None:
    """As the hub's first checkpoints of families that transformers has since learned."""
    source = with_tokenizer(chain, tmp_path / "model", "fast")
    config = json.loads((source / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"}
    write(source, {"modeling_llama.py": "raise SystemExit", "config.json": json.dumps(config)})
    folder = exported(chain, source, tmp_path / "out", remote=False)
    assert "auto_map" not in json.loads((folder / "config.json").read_text())
    assert not (folder / "modeling_llama.py").exists()
    assert type(backend.Backend(folder, "cpu", remote=False).model) is LlamaForCausalLM
