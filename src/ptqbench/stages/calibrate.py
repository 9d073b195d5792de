"""Calibration tokens of one model and one calibration set: crops of a text, or questions about images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptqbench.atomic import atomic
from ptqbench.errors import UserError, about, user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.imports import lean_tokenizers, lean_transformers
from ptqbench.manifest import begin, finish, key, verify
from ptqbench.models.headers import read_config
from ptqbench.models.parts import text_folder
from ptqbench.outside import read_object
from ptqbench.places import model_folder, texts
from ptqbench.reach import roots
from ptqbench.records import Model, Tokens
from ptqbench.stages.common import parser

FILE = "tokens.parquet"
OURS = ("deepseek",)  # types of models that transformers does not know


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    args = arguments.parse_args(argv)
    settings, source = args.spec["calibration"], model_folder(args.model, verify(args.model, Model))
    code = fingerprint(roots("calibrate", args.spec))
    made = key(args.spec, code, texts(settings), model=args.model)
    if (folder := begin(args.out, made)) is None:
        return
    make = pictures if "questions" in settings else text
    file, record = make(settings, source, folder, args.spec["model"]["trust_remote_code"])
    finish(args.out, Tokens, made, [file], **record)


def text(settings: dict[str, Any], source: Path, folder: Path, remote: bool) -> tuple[Path, dict[str, Any]]:
    """Crops of a corpus."""
    place = text_folder(source)
    if is_plain(place, remote):
        lean_tokenizers()
    else:
        lean_transformers()
        import ptqbench.models.load  # noqa: F401 (registers the types of OURS)
    from transformers import AutoTokenizer

    from ptqbench.data.calibration import sample, write_tokens
    from ptqbench.data.corpora import read_corpus

    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=remote)

    def tokenize(text: str) -> list[int]:
        return tokenizer(text, verbose=False)["input_ids"]

    with about(f"calibration.{settings['name']}.corpus is '{settings['corpus']}'"):
        special = (tokenizer.bos_token, tokenizer.eos_token)
        corpus = read_corpus(settings["corpus"], "calibration", settings.get("revision"), special)
        shape = settings["samples"], settings["sequence_length"]
        tokens, crops = sample(corpus, tokenize, *shape, settings["seed"])
    with atomic(folder / FILE) as temporary:
        write_tokens(temporary, tokens)
    found = {"documents": len(corpus.documents), "crops": crops}
    return folder / FILE, {"samples": tokens.shape[0], "sequence_length": tokens.shape[1], **found}


def is_plain(folder: Path, remote: bool) -> bool:
    """Whether a folder's tokenizer needs no code but transformers', and no config to say of which class it is."""
    file = folder / "tokenizer_config.json"
    named = file.is_file() and "tokenizer_class" in read_object(file, str(folder))
    return named and not remote and read_config(folder, str(folder)).get("model_type") not in OURS


def pictures(settings: dict[str, Any], source: Path, folder: Path, remote: bool) -> tuple[Path, dict[str, Any]]:
    """Questions about images in the model's own chat format, each with its answer.

    Raises :class:`UserError` for a model of text.
    """
    from ptqbench.data.images import Item
    from ptqbench.data.pairs import FILE, choose, tokenized, write_pairs
    from ptqbench.evaluation.backends.text import Text
    from ptqbench.evaluation.greedy import prompt_ids
    from ptqbench.models.adapter import load_adapter
    from ptqbench.models.sight import image_tokens

    where = f"calibration.{settings['name']}.questions is '{settings['questions']}'"
    config = read_config(source, str(source))
    if load_adapter(config, str(source)).tower is None:
        raise UserError(f"{where}, and {source} is a model of text: calibrate it on a corpus")
    reader, place = Text(source, remote), image_tokens(source, config)

    def tokenize(text: str, special: bool) -> list[int]:
        return reader.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]

    def encode(item: Item, answer: str) -> list[int]:
        prompt = reader.prompt(item)
        gap = "" if prompt[-1].isspace() else " "
        return prompt_ids(tokenize, f"{prompt}{gap}{answer}{reader.tokenizer.eos_token}", *place)

    with about(where):
        chosen = choose(settings["questions"], settings["samples"], settings["seed"], settings.get("revision"))
        pairs = tokenized(chosen, encode, reader.context)
    with atomic(folder / FILE) as temporary:
        write_pairs(temporary, pairs)
    total = sum(len(pair.tokens) for pair in pairs)
    return folder / FILE, {"samples": len(pairs), "tokens": total, "items": [pair.place for pair in pairs]}


if __name__ == "__main__":
    main()
