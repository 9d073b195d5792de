"""Every described family passes the look that precedes all work; what it lacks, has too much or otherwise does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_models import FAMILIES, MIXTURES, SEEING, make_model

from ptqbench.errors import UserError
from ptqbench.model_checks import check_folder
from ptqbench.models.adapter import load_adapter
from ptqbench.models.examine import check_experts, check_tokenizer, examine, whole
from ptqbench.models.headers import Header, read_config, read_headers
from ptqbench.pocket.corpus import train_tokenizer

NAMES = [*FAMILIES, *MIXTURES]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model folder of a family, made when first asked for."""
    root, made = tmp_path_factory.mktemp("families"), {}

    def of(family: str) -> Path:
        if family not in made:
            made[family] = make_model(root / family.replace(" ", "-"), family, vocabulary=tiny.VOCABULARY)
            if family not in SEEING:
                train_tokenizer([tiny.text(4000)], tiny.VOCABULARY, tiny.CONTEXT).save_pretrained(made[family])
        return made[family]

    return of


def refused(folder: Path, headers: dict[str, Header]) -> str | None:
    """What is said of a folder with other headers."""
    settings = read_config(folder, "w")
    adapter = load_adapter(settings, "w").named_as(headers)
    try:
        check_experts(headers, f"w: {folder}")
        whole(folder, settings, headers, adapter, False, f"w: {folder}")
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("family", NAMES)
def test_every_family_passes(families: Any, family: str) -> None:
    folder = families(family)
    for tower in {False, family in SEEING}:
        assert check_folder(folder, "config: models.m.path", tower, False)
    examine(folder, "models.m.path", False)


def leaves(headers: dict[str, Header]) -> dict[str, str]:
    """One tensor of every kind: the first of those whose names are equal but for their numbers."""
    found: dict[str, str] = {}
    for name in headers:
        found.setdefault(".".join("#" if part.isdigit() else part for part in name.split(".")), name)
    return found


@pytest.mark.parametrize("family", NAMES)
def test_every_kind_of_tensor_has_to_be_there_in_its_shape(families: Any, family: str) -> None:
    """The head of a model that ties it alone may be missing; what is stored as integers does not count."""
    folder = families(family)
    headers = read_headers(folder, "w")
    assert refused(folder, headers) is None
    kinds = list(leaves(headers).items())
    kinds = kinds[:: 4 if family in SEEING else 1]  # those of a tower are many
    for kind, name in kinds:
        without = {key: header for key, header in headers.items() if key != name}
        if "experts.#" in kind:
            continue  # linears of sites, which planning misses; see below for their shapes
        assert "lacks the tensor" in (refused(folder, without) or ""), kind
        quantized = headers | {name: headers[name]._replace(dtype="I8")}
        assert refused(folder, quantized) is not None, kind
    for kind, name in kinds:
        wider = headers[name]._replace(shape=(*headers[name].shape[:-1], headers[name].shape[-1] + 1))
        said = refused(folder, headers | {name: wider}) or ""
        assert str(list(wider.shape)) in said, kind


@pytest.mark.parametrize("family", NAMES)
def test_what_is_recomputed_may_be_stored_and_nothing_else(families: Any, family: str) -> None:
    folder = families(family)
    headers = read_headers(folder, "w")
    prefix = load_adapter(read_config(folder, "w"), "w").named_as(headers).prefix(0)
    part = "llm" if family == "vila" else ""
    header = Header(folder / "x", "F32", (8,), part)
    if "mamba" not in family:
        assert refused(folder, headers | {f"{prefix}self_attn.rotary_emb.inv_freq": header}) is None
    for name in (f"{prefix}surplus.weight", f"{prefix}mlp.weight_scale", "surplus"):
        if part and not name.startswith(part):
            continue
        assert "has no place for" in (refused(folder, headers | {name: header}) or ""), name


def tokenizer(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """A copy of the model with another ``tokenizer.json``."""
    made = Path(shutil.copytree(folder, tmp_path / "changed"))
    content = json.loads((made / "tokenizer.json").read_text())
    (made / "tokenizer.json").write_text(json.dumps(content | changes))
    return made


TRUNCATION = {"direction": "Right", "max_length": 32, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 5000},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<|endoftext|>",
}


@pytest.mark.parametrize("leftover", [{"truncation": TRUNCATION}, {"padding": PADDING}, {}], ids=str)
def test_leftovers_of_training_do_not_change_what_is_read(tiny_model: Path, tmp_path: Path, leftover: dict) -> None:
    """transformers' tokenizers forget them; one that does not is refused, as the test below sees."""
    from transformers import AutoTokenizer

    changed = tokenizer(tiny_model, tmp_path, **leftover)
    text = tiny.text(500)
    ids = [AutoTokenizer.from_pretrained(place)(text)["input_ids"] for place in (tiny_model, changed)]
    check_tokenizer(changed, "w", False, tiny.VOCABULARY)
    assert ids[0] == ids[1]


def test_a_tokenizer_that_cuts_every_text(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(tiny_model)
    for read in (
        lambda text, **_: {"input_ids": made(text)["input_ids"][:32]},
        lambda *_, **__: {"input_ids": [0] * 32},
    ):
        read.get_vocab = made.get_vocab  # type: ignore[attr-defined]
        monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, read=read, **__: read)
        with pytest.raises(UserError, match="cuts or fills every text to 32 tokens, as in its training: remove"):
            check_tokenizer(tiny_model, "w", False, tiny.VOCABULARY)


def test_tokens_beyond_the_embedding(tiny_model: Path, tmp_path: Path) -> None:
    added = json.loads((tiny_model / "tokenizer.json").read_text())["added_tokens"]
    more = {**added[0], "id": tiny.VOCABULARY, "content": "<|im_start|>"}
    changed = tokenizer(tiny_model, tmp_path, added_tokens=[*added, more])
    with pytest.raises(UserError, match=rf"the token '<\|im_start\|>' as {tiny.VOCABULARY}, and an embedding of 300"):
        examine(changed, "models.m.path", False)
    check_tokenizer(changed, "w", False, tiny.VOCABULARY + 1)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"model": {"type": "BPE"}}', b"[" * 100_000])
def test_a_tokenizer_that_is_none(tiny_model: Path, tmp_path: Path, content: bytes) -> None:
    made = Path(shutil.copytree(tiny_model, tmp_path / "changed"))
    (made / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError, match=r"^models\.m\.path: .* has a tokenizer that does not load \(.*\)") as raised:
        examine(made, "models.m.path", False)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300 + len(str(made))


CONFIGS: dict[str, Any] = {
    "hidden_act": "none",
    "rms_norm_eps": "x",
    "num_attention_heads": 3,
    "head_dim": 16,
    "vocab_size": 299,
    "hidden_size": 32,
    "pad_token_id": 10**6,
    "rope_parameters": {"rope_type": "none"},
    "attention_bias": True,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("key", CONFIGS)
def test_a_config_that_the_tensors_do_not_fit(tiny_model: Path, tmp_path: Path, key: str) -> None:
    made = Path(shutil.copytree(tiny_model, tmp_path / "changed"))
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | {key: CONFIGS[key]}))
    with pytest.raises(UserError, match=r"^models\.m\.path: .*: correct") as raised:
        examine(made, "models.m.path", False)
    assert "\n" not in str(raised.value)
