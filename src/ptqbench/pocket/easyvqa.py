"""easy-VQA's archive as two parquet files: ``python -m ptqbench.pocket.easyvqa --archive easy_vqa.tar.xz --out DIR``.

easy-VQA (github.com/vzhou842/easy-VQA, MIT) has 64 x 64 images of one shape each, and 13 answers.
"""

from __future__ import annotations

import argparse
import json
import tarfile
from pathlib import Path

from ptqbench.data.images import Item, write_items

SPLITS = ("train", "test")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ptqbench.pocket.easyvqa", description=__doc__)
    parser.add_argument("--archive", type=Path, required=True, help="a tar with easy_vqa/data/{train,test}")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(args.archive) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        contents = {name: file.read() for name, file in files.items() if file is not None and "/data/" in name}
    for split in SPLITS:
        items = questions(contents, split)
        write_items(args.out / f"easy_vqa.{split}.parquet", items)
        print(f"{split}: {len(items)} questions")


def questions(contents: dict[str, bytes], split: str) -> list[Item]:
    """The questions of one split, in the archive's order."""
    folder = f"easy_vqa/data/{split}"
    listed = json.loads(contents[f"{folder}/questions.json"])
    return [Item(contents[f"{folder}/images/{image}.png"], text, (answer,)) for text, answer, image in listed]


if __name__ == "__main__":
    main()
