"""What is older than the pins is refused, what is newer than was tried is said; the numbers are those of the pins."""

from __future__ import annotations

import re

import pytest
from clone import REPOSITORY

from ptqbench.errors import UserError
from ptqbench.supported import NEWEST, OLDEST, check_transformers


def test_releases() -> None:
    assert check_transformers() is None
    assert check_transformers("5.24.3") is None
    assert "newer than 5.24" in str(check_transformers("5.25.0.dev0"))
    assert "newer than 5.24" in str(check_transformers("6.0"))
    with pytest.raises(UserError, match=r"^transformers 4\.57\.1 is installed, and 5\.17 is the oldest"):
        check_transformers("4.57.1")


@pytest.mark.parametrize(("file", "release"), [("envs/ptqbench.yaml", OLDEST), ("envs/newest.txt", NEWEST)])
def test_they_are_the_pins(file: str, release: tuple[int, int]) -> None:
    found = re.search(r"transformers==(\d+)\.(\d+)", (REPOSITORY / file).read_text())
    assert found
    assert tuple(map(int, found.groups())) == release
