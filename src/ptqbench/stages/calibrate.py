"""Calibration tokens of one model and one calibration set."""

from __future__ import annotations

from pathlib import Path

from ptqbench.data.calibration import sample, write_tokens
from ptqbench.data.corpora import read_corpus
from ptqbench.errors import about, user_facing
from ptqbench.fingerprint import fingerprint
from ptqbench.manifest import atomic, begin, finish, verify
from ptqbench.stages.common import parser

FILE = "tokens.parquet"


@user_facing
def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", type=Path, required=True, help="the prepared model's manifest")
    args = arguments.parse_args(argv)
    from transformers import AutoTokenizer

    from ptqbench.models.load import text_folder

    folder = begin(args.out)
    settings = args.spec["calibration"]
    source = text_folder(Path(verify(args.model)["source"]))
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=args.spec["model"]["trust_remote_code"])

    def tokenize(text: str) -> list[int]:
        return tokenizer(text, verbose=False)["input_ids"]

    with about(f"calibration.{settings['name']}.corpus is '{settings['corpus']}'"):
        documents, separator = read_corpus(settings["corpus"], "calibration")
        shape = settings["samples"], settings["sequence_length"]
        tokens = sample(documents, separator, tokenize, *shape, settings["seed"])
    with atomic(folder / FILE) as temporary:
        write_tokens(temporary, tokens)
    code = fingerprint(["ptqbench.stages.calibrate"])
    finish(args.out, args.spec, code, [folder / FILE], samples=tokens.shape[0], sequence_length=tokens.shape[1])


if __name__ == "__main__":
    main()
