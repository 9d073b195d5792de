"""Messages for users."""

from __future__ import annotations

import pytest

from ptqbench.errors import DamagedArtifact, UserError, about, did_you_mean, user_facing


def test_a_near_match_is_offered() -> None:
    assert did_you_mean("gtpq", ["nearest", "gptq"]) == ": did you mean 'gptq'?"


def test_otherwise_the_choices_are_listed() -> None:
    assert did_you_mean("zzz", ["nearest", "gptq"]) == ": choose from gptq, nearest"
    assert did_you_mean("zzz", []) == ": remove it"


def test_about_names_the_subject_and_keeps_the_kind() -> None:
    with pytest.raises(DamagedArtifact, match=r"^calibration\.x: too short$"), about("calibration.x"):
        raise DamagedArtifact("too short")
    with pytest.raises(ValueError, match=r"^other$"), about("calibration.x"):
        raise ValueError("other")


def test_a_stage_ends_with_one_line() -> None:
    @user_facing
    def main(argv: list[str] | None = None) -> None:
        raise UserError(f"{argv} is value: do this")

    with pytest.raises(SystemExit) as ended:
        main(["key"])
    assert ended.value.code == "error: ['key'] is value: do this"
