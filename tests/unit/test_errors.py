"""Messages for users."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import urllib.error
from pathlib import Path

import httpx
import polars as pl
import pytest
import requests
import torch
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import safe_open

from ptqbench import errors
from ptqbench.errors import DamagedArtifact, UserError, about, did_you_mean, reaching, short, told, user_facing

LONG = "x" * 5000


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


def line(error: Exception) -> str:
    """What a user is told."""
    said = told(error)
    assert "\n" not in said
    assert len(said) <= 320
    return said


def test_a_stage_ends_with_one_line() -> None:
    @user_facing
    def main(argv: list[str] | None = None) -> None:
        raise UserError(f"{argv} is {LONG}\n\n: do this")

    with pytest.raises(SystemExit) as ended:
        main(["key"])
    assert str(ended.value.code).startswith("error: ['key'] is xx")
    assert str(ended.value.code).endswith("xx : do this")
    assert "\n" not in str(ended.value.code)


def test_a_bug_keeps_its_traceback() -> None:
    for error in (KeyError("x"), ValueError("x"), RuntimeError("x"), AssertionError("x"), TypeError("x")):
        with pytest.raises(type(error)):
            told(error)


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_operating_system_is_one_line(number: int) -> None:
    for error in (
        OSError(number, os.strerror(number), "results/x"),
        OSError(number, os.strerror(number), f"results/{LONG}", None, f"results/{LONG}"),
        OSError(number, os.strerror(number)),
        ValueError(f"I/O error: {os.strerror(number)} (os error {number})"),
    ):
        assert ": " in line(error)
    if number in errors.REMEDIES:
        assert line(OSError(number, "no", "results/x")).startswith("results/x: no: ")
        assert line(OSError(number, "no", "results/x")).endswith(errors.REMEDIES[number]) or number == errno.ENOMEM


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("[Errno 111] Connection refused"),
        httpx.ReadTimeout("timed out"),
        requests.ConnectionError(f"HTTPSConnectionPool {LONG}"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        TimeoutError("timed out"),
        socket.gaierror(-3, "Temporary failure in name resolution"),
        ssl.SSLError(1, "certificate verify failed"),
        urllib.error.URLError("no route"),
        LocalEntryNotFoundError("no network"),
        HFValidationError("Repo id must use alphanumeric chars"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_network(error: Exception) -> None:
    assert "HF_TOKEN" in line(error)
    with pytest.raises(UserError, match=r"^cannot fetch a/b \(\w+\): check the id"), reaching("cannot fetch a/b"):
        raise error
    with pytest.raises(KeyError), reaching("cannot fetch a/b"):
        raise KeyError


def raised(call: object) -> Exception:
    with pytest.raises(Exception) as found:  # noqa: PT011
        call()
    return found.value


def test_out_of_memory() -> None:
    for error in (
        raised(lambda: bytearray(1 << 60)),
        raised(lambda: torch.empty(1 << 50)),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    ):
        assert "out of memory" in line(error)
        assert "batch_size" in line(error)


def test_libraries_that_read_files(tmp_path: Path) -> None:
    """What Rust's libraries say of a file is Python's OSError, or has the same words."""
    file = tmp_path / "nowhere"
    for call in (lambda: safe_open(file, framework="pt"), lambda: pl.read_parquet(file)):
        assert errors.REMEDIES[errno.ENOENT] in line(raised(call))


def test_causes_are_looked_at() -> None:
    error = RuntimeError("cannot load")
    error.__cause__ = OSError(errno.EIO, "Input/output error", "disk")
    assert line(error) == "disk: Input/output error: check the disk, then run again"


def test_short() -> None:
    assert short("a\n b") == "a b"
    assert len(short(LONG)) <= errors.LONGEST
