"""A server's faults: each one clear line after the log's tail, another try where it helps, and no process left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from clone import REPOSITORY
from fake_vllm import Handler, log_probability
from serving import alive, environment, fake_environment, started, within

from ptqbench.errors import UserError
from ptqbench.evaluation import launcher
from ptqbench.evaluation.client import HOST, Client, Refused, Unanswered, reserve_port
from ptqbench.evaluation.server import Command, Limits, Server, serving

LIMITS = Limits(startup=20.0, request=20.0, end=15.0, tries=3, pause=0.2, report=0.2)


class Place:
    """Where one test's servers run."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.checkpoint, self.log, self.pids = folder / "checkpoint", folder / "server.log", folder / "pids"
        marker = fake_environment(folder / "environment")
        self.command = Command(marker.parent / "python", ("--flag", "7"), {"SEEN": "1"}, inherits_path=False)
        self.patch = patch
        patch.setenv("FAKE_VLLM_PIDS", str(self.pids))

    def fault(self, mode: str, limits: Limits = LIMITS, use: bool = False) -> str:
        """The line that a fault ends with; nothing may be left."""
        self.patch.setenv("FAKE_VLLM", mode)
        with pytest.raises(UserError) as raised:
            self.use(limits, 3 if use else 0)
        self.nothing_left()
        assert "\n" not in str(raised.value)
        assert str(self.log) in str(raised.value)
        return str(raised.value)

    def use(self, limits: Limits, requests: int) -> None:
        """Start a server and ask it."""
        with serving(self.command, self.checkpoint, self.log, limits) as server:
            for _ in range(requests):
                server.client.complete([[1, 2, 3]], max_tokens=1, prompt_logprobs=0)

    def nothing_left(self) -> None:
        assert not [pid for pid in started(self.pids) if alive(pid)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_a_server_that_works(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(place.command, place.checkpoint, place.log, LIMITS) as server:
        processes = started(place.pids)
        assert len(processes) == 2
        assert all(map(alive, processes))
        first, second = server.client.complete([[1, 2, 3], [4, 5]], max_tokens=1, prompt_logprobs=0)
        assert [first["index"], second["index"]] == [0, 1]
        assert second["prompt_logprobs"] == [None, {"5": {"logprob": log_probability(5)}}]
        assert len(list(server.client.stream([1, 2], max_tokens=4))) == 4
        with pytest.raises(Refused, match=r"status 401: .*Unauthorized"):
            replace(server.client, key="guess").complete([[1]], max_tokens=1)
        log = place.log.read_text()
        assert "'--flag', '7'" in log
        assert server.client.key not in log, "the key travels in the environment"
    place.nothing_left()
    assert "server: ready after" in capfd.readouterr().err


def test_it_dies_while_loading(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    line = place.fault("dies-loading")
    assert line.startswith(f"the server of {place.checkpoint} did not come up: ValueError: There is no module")
    assert "Engine core initialization failed" not in line
    shown = capfd.readouterr().err
    assert "Engine core initialization failed" in shown
    assert "shards:   0%" not in shown, "of a progress bar the last state is enough"
    assert len(started(place.pids)) == 2, "another try would not help"


def test_a_checkpoint_that_lacks_a_tensor(place: Place) -> None:
    assert "not initialized from checkpoint: {'model.norm.weight'}" in place.fault("lacks-tensor")
    assert len(started(place.pids)) == 2


def test_out_of_memory(place: Place) -> None:
    line = place.fault("out-of-memory")
    assert "did not come up: out of memory (torch.OutOfMemoryError: CUDA out of memory." in line
    assert "use a larger device" in line
    assert len(started(place.pids)) == 2


@pytest.mark.parametrize(
    ("mode", "words"), [("port-taken", "its port was taken"), ("memory-race", "the GPU's memory was in use or changed")]
)
def test_faults_that_pass(place: Place, capfd: pytest.CaptureFixture[str], mode: str, words: str) -> None:
    place.patch.setenv("FAKE_VLLM", f"{mode}-once")
    with serving(place.command, place.checkpoint, place.log, LIMITS) as server:
        assert server.alive
    place.nothing_left()
    assert len(started(place.pids)) == 4
    assert f"{words}" in capfd.readouterr().err
    place.pids.unlink()
    assert words in place.fault(mode)
    assert len(started(place.pids)) == 2 * LIMITS.tries, "it does not try for ever"


def test_it_never_gets_ready(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    assert "did not come up: it was not ready within 1 s" in place.fault("never-ready", replace(LIMITS, startup=1.0))
    assert "nothing written yet" in capfd.readouterr().err, "progress is told meanwhile"


def test_it_dies_in_use(place: Place) -> None:
    line = place.fault("dies-in-use", use=True)
    assert "died while it was in use: torch.AcceleratorError: CUDA error: an illegal memory access" in line


def test_it_hangs_in_use(place: Place) -> None:
    begun = time.monotonic()
    line = place.fault("hangs-in-use", replace(LIMITS, request=1.0), use=True)
    assert "hangs: no answer within 1 s" in line
    assert time.monotonic() - begun < 15


def test_a_mistake_of_ours_is_not_blamed_on_the_server(place: Place) -> None:
    with pytest.raises(ZeroDivisionError), serving(place.command, place.checkpoint, place.log, LIMITS):
        _ = 1 / 0
    with pytest.raises(UserError, match=r"^mine$"), serving(place.command, place.checkpoint, place.log, LIMITS):
        raise UserError("mine")
    place.patch.setenv("FAKE_VLLM", "refuses")
    with pytest.raises(Unanswered), serving(place.command, place.checkpoint, place.log, LIMITS) as server:
        server.client.complete([[1]], max_tokens=1)
    place.nothing_left()


def test_a_server_that_will_not_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked, it goes on; then the kernel ends it."""
    place.patch.setenv("FAKE_VLLM", "stubborn")
    with serving(place.command, place.checkpoint, place.log, replace(LIMITS, end=0.5)) as server:
        assert server.alive
    place.nothing_left()


HOLD = (
    "import sys; from pathlib import Path; from ptqbench.evaluation.server import Command, serving\n"
    "with serving(Command(Path(sys.argv[1]), (), {}, False), Path('c'), Path(sys.argv[2])) as server:\n"
    "    print('up', flush=True); input()\n"
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_orphan_however_its_user_ends(place: Place, number: signal.Signals) -> None:
    variables = {**environment(place.pids, ""), "PYTHONPATH": str(REPOSITORY / "src")}
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup, which the holder would inherit
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(place.command.python), str(place.log)],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    signal.signal(signal.SIGHUP, hangup)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n"
    assert all(map(alive, started(place.pids)))
    os.kill(holder.pid, number)
    holder.wait(30)
    assert within(15, lambda: not any(map(alive, started(place.pids))))


def test_no_orphan_of_a_server_that_is_still_loading(place: Place) -> None:
    variables = {**environment(place.pids, "never-ready"), "PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-c", HOLD, str(place.command.python), str(place.log)]
    holder = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert within(15, lambda: len(started(place.pids)) == 2)
    holder.kill()
    holder.wait()
    assert within(15, lambda: not any(map(alive, started(place.pids))))


def test_the_environment_of_a_server(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python must not see our packages, unless it is ours."""
    monkeypatch.setenv("PYTHONPATH", "src")
    server = Server(place.command, place.checkpoint, place.log, LIMITS)
    server.stop()
    seen = server._environment(place.command)
    assert "PYTHONPATH" not in seen
    assert seen["SEEN"] == "1"
    assert server._environment(replace(place.command, inherits_path=True))["PYTHONPATH"] == "src"


def test_a_port_is_kept_for_the_server(place: Place) -> None:
    reserved = reserve_port()
    number = reserved.getsockname()[1]
    with pytest.raises(Unanswered, match="no answer from"):
        Client(f"http://{HOST}:{number}", "key", 1.0).get("/health")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((HOST, number))
    with ThreadingHTTPServer((HOST, number), Handler) as server:
        assert server.server_port == number
    reserved.close()
    with serving(place.command, place.checkpoint, place.log, LIMITS) as running:
        number = running.port.getsockname()[1]
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, number))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((HOST, number))


def test_another_server_on_its_port_is_not_taken_for_it(place: Place) -> None:
    line = place.fault("stranger")
    assert "did not come up: another program answers on its port" in line
    assert len(started(place.pids)) == 2 * LIMITS.tries, "it may be gone at the next try"


def test_a_server_that_the_kernel_killed(place: Place) -> None:
    line = place.fault("killed-loading")
    assert "did not come up: it was killed, as by a host that lacks memory (it said last: loading)" in line


def test_a_process_that_the_kernel_does_not_end(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Killing does nothing to it: it is named, and the stage goes on."""
    place.patch.setenv("FAKE_VLLM", "stubborn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launcher, "kill", lambda pid: None)
        with serving(place.command, place.checkpoint, place.log, replace(LIMITS, end=0.5)) as server:
            pass
    assert f"server: killed, and still there: process {started(place.pids)[0]}" in capfd.readouterr().err
    server.process.wait(20)
    place.nothing_left()
