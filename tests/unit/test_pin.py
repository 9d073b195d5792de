"""Models of the hub by their commits; the hub itself is replaced."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import huggingface_hub
import pytest
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError

from ptqbench.__main__ import main

COMMITS = {"org/Model-7B": "a" * 40, "other/thing": "b" * 40}


class Hub:
    """What ``huggingface_hub.HfApi`` says of two models, and that it cannot be reached for any other."""

    def model_info(self, hub: str) -> SimpleNamespace:
        if hub not in COMMITS:
            raise LocalEntryNotFoundError("no network")
        return SimpleNamespace(sha=COMMITS[hub])

    def dataset_info(self, dataset: str, revision: str | None) -> SimpleNamespace:
        return SimpleNamespace(sha={"refs/convert/parquet": "c" * 40, None: "d" * 40}[revision])


@pytest.fixture(autouse=True)
def _hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)


def test_lines_of_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    main(["pin", "org/Model-7B", "mine=other/thing"])
    assert yaml.safe_load(capsys.readouterr().out) == {
        "models": {
            "model-7b": {"hub": "org/Model-7B", "revision": "a" * 40},
            "mine": {"hub": "other/thing", "revision": "b" * 40},
        }
    }


def test_lines_of_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    main(["pin", "ptb", "c4", "mine=other/thing"])
    assert yaml.safe_load(capsys.readouterr().out) == {
        "models": {"mine": {"hub": "other/thing", "revision": "b" * 40}},
        "revisions": {"ptb": "c" * 40, "c4": "d" * 40},
    }
    main(["pin", "pope"])
    assert yaml.safe_load(capsys.readouterr().out) == {"revisions": {"pope": "d" * 40}}


def test_a_hub_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"cannot ask the hub for 'org/none' .*check the id"):
        main(["pin", "org/none"])


@pytest.mark.parametrize(
    "asked", ["", "=", "org/", "=org/", "a b=org/Model-7B", "a\nb=org/Model-7B", "a/b=org/Model-7B"]
)
def test_a_name_that_no_config_takes_is_one_line(asked: str) -> None:
    with pytest.raises(SystemExit, match=r"^error: .* is none of NAME=HUB_ID: write a name"):
        main(["pin", asked])


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), PermissionError(13, "no")])
def test_whatever_keeps_the_hub_away_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Hub, hub: str) -> None:
        raise error

    monkeypatch.setattr(Hub, "model_info", refuse)
    with pytest.raises(SystemExit, match=rf"^error: cannot ask the hub for 'org/m' \({type(error).__name__}\): check"):
        main(["pin", "org/m"])
