"""The archive's splits as parquet files."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tiny_images import COLOURS, png

from ptqbench.data.images import read_items
from ptqbench.pocket.easyvqa import main


def test_each_question_gets_its_image(tmp_path: Path) -> None:
    images = [png(colour) for colour in COLOURS.values()]
    listed = {
        "train": [["what?", "red", 0], ["what?", "blue", 2], ["is it red?", "yes", 0]],
        "test": [["what?", "g", 1]],
    }
    with tarfile.open(tmp_path / "all.tar.xz", "w:xz") as archive:
        for split, questions in listed.items():
            files = {f"images/{index}.png": image for index, image in enumerate(images)}
            for name, content in {"questions.json": json.dumps(questions).encode(), **files}.items():
                info = tarfile.TarInfo(f"easy_vqa/data/{split}/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    main(["--archive", str(tmp_path / "all.tar.xz"), "--out", str(tmp_path / "out")])
    found = read_items(tmp_path / "out" / "easy_vqa.train.parquet")
    assert [item.image for item in found] == [images[0], images[2], images[0]]
    assert [(item.question, item.answers[0]) for item in found] == [tuple(q[:2]) for q in listed["train"]]
    assert len(read_items(tmp_path / "out" / "easy_vqa.test.parquet")) == 1
