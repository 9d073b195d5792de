"""Jobs agree on GPUs through lock files; no GPU is needed to see that."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from clone import REPOSITORY

from ptqbench import devices
from ptqbench.devices import one_device, visible_gpus
from ptqbench.errors import UserError
from ptqbench.stages import common

TAKE = (
    "import os, time; from ptqbench.devices import one_device\n"
    "with one_device() as device: print(device, os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(60)"
)


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv(devices.SLOTS, raising=False)


def take(gpus: str) -> tuple[subprocess.Popen[str], str]:
    """Another process that holds one of ``gpus``, and which one."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "CUDA_VISIBLE_DEVICES": gpus}
    process = subprocess.Popen([sys.executable, "-c", TAKE], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split()[1]


@pytest.mark.parametrize(
    ("value", "expected"), [("", []), ("-1", []), ("3", ["3"]), ("0,2", ["0", "2"]), ("GPU-ab,1", ["GPU-ab", "1"])]
)
def test_the_user_chooses_gpus(monkeypatch: pytest.MonkeyPatch, value: str, expected: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == expected


CPU = "from typing import Optional\n__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (CPU, False),
        ("", False),
        (CPU.replace("cuda: Optional[str] = None", "cuda: Optional[str] = '13.0'"), True),
        (CPU.replace("hip: Optional[str] = None", "hip: Optional[str] = '7.1'"), True),
        ("cuda = '12.8'", True),
        ("cuda = None", False),
    ],
)
def test_what_torch_was_built_for_is_read_from_its_files(version: str, expected: bool) -> None:
    assert devices.built_for_gpus(version) == expected


def test_it_is_what_torch_says_of_itself() -> None:
    import torch

    built = torch.version.cuda is not None or torch.version.hip is not None
    assert devices.built_for_gpus(devices.torch_version()) == built


@pytest.mark.parametrize("value", ["0", "0,1", "GPU-ab", "", "-1", None])
def test_gpus_beside_a_torch_for_processors_are_one_line_before_work(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.setattr(devices, "torch_version", lambda: CPU)
    monkeypatch.setattr(common, "torch_version", lambda: CPU)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    if value in ("", "-1", None):
        with common.computing() as device:
            assert device == "cpu"
        return
    with pytest.raises(UserError, match=r"^CUDA_VISIBLE_DEVICES is '.*to compute on the CPU$"), common.computing():
        pytest.fail("work began")


def test_gpus_that_are_not_there_are_one_line_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (devices, common):
        monkeypatch.setattr(module, "torch_version", lambda: "cuda = '12.8'")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "17")
    with pytest.raises(UserError, match=r"^CUDA_VISIBLE_DEVICES is '17', and torch finds 0 such"), common.computing():
        pytest.fail("work began")


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with one_device() as first, one_device() as second:
        assert (first, second) == ("cpu", "cpu")


def test_a_job_sees_its_gpu_only_and_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
        with one_device() as device:
            assert device == "cuda"
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_two_jobs_hold_two_gpus_until_they_die(monkeypatch: pytest.MonkeyPatch) -> None:
    first, one = take("0,1")
    second, other = take("0,1")
    assert {one, other} == {"0", "1"}
    first.kill()
    first.wait()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with one_device():
        assert os.environ["CUDA_VISIBLE_DEVICES"] == one, "the other is still held"
    second.kill()
    second.wait()


def test_small_jobs_may_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.SLOTS, "2")
    first, one = take("0")
    second, other = take("0")
    assert one == other == "0"
    for process in (first, second):
        process.kill()
        process.wait()


def test_a_server_has_a_whole_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for every job that shares the GPU, and no job starts beside it."""
    monkeypatch.setenv(devices.SLOTS, "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    small, _ = take("0")
    timer = threading.Timer(1.0, small.kill)
    timer.start()
    begun = time.monotonic()
    with one_device(whole=True) as device:
        assert device == "cuda"
        assert time.monotonic() - begun > 0.9
        assert all(lock.exists() for lock in Path(os.environ["TMPDIR"]).glob("*/0.[01].lock"))
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "CUDA_VISIBLE_DEVICES": "0"}
        late = subprocess.Popen([sys.executable, "-c", TAKE], env=environment, stdout=subprocess.PIPE, text=True)
        assert late.stdout is not None
        assert not select.select([late.stdout], [], [], 3.0)[0]
    assert late.stdout.readline().split()[1] == "0"
    for process in (small, late):
        process.kill()
        process.wait()


def test_a_job_may_hold_several_gpus_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.SLOTS, "2")
    other, taken = take("0,1,2")
    assert taken == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with devices.devices(2) as device:
        assert device == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2", "0 is half taken"
        locks = {lock.name for lock in Path(os.environ["TMPDIR"]).glob("*/*.lock")}
        assert {"1.0.lock", "1.1.lock", "2.0.lock", "2.1.lock"} <= locks
        more, beside = take("0,1,2")
        assert beside == "0", "its other half"
    for process in (other, more):
        process.kill()
        process.wait()


def test_more_gpus_than_there_are_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UserError, match="4 GPUs are asked for and 2 are visible"), devices.devices(4):
        pass
