"""The life of one ``vllm serve``: started on a free port of the loopback, waited for, and always ended."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ptqbench.errors import UserError
from ptqbench.evaluation import launcher
from ptqbench.evaluation.client import HOST, MODEL, Client, Refused, Unanswered, reserve_port
from ptqbench.evaluation.faults import Fault, diagnose, tail, text

QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Limits:
    """Patience, in seconds, and tries."""

    startup: float = 1800.0
    request: float = 1800.0
    end: float = launcher.GRACE_SECONDS + 20.0
    tries: int = 3
    pause: float = 5.0
    report: float = 10.0


LIMITS = Limits()


@dataclass(frozen=True)
class Command:
    """What to run: the Python that has vLLM, flags of ``vllm serve`` and variables of its environment."""

    python: Path
    flags: tuple[str, ...]
    variables: dict[str, str]
    inherits_path: bool


class Server:
    """A server that was started; ``client`` talks to it, ``log`` is everything that it wrote."""

    def __init__(self, command: Command, checkpoint: Path, log: Path, limits: Limits) -> None:
        self.checkpoint, self.log, self.limits = checkpoint, log, limits
        self.port = reserve_port()  # until the server is gone
        self.client = Client(f"http://{HOST}:{self.port.getsockname()[1]}", secrets.token_urlsafe(24), limits.request)
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", launcher.__file__, str(os.getpid()), *self._arguments(command)],
                env=self._environment(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt on the terminal comes to us, and we end it
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def wait(self) -> Fault | None:
        """Wait until it answers, saying every few seconds what it does; what went wrong otherwise."""
        begun = reported = time.monotonic()
        probe = Client(self.client.url, self.client.key, 5.0)
        while time.monotonic() - begun < self.limits.startup:
            if not self.alive:
                return self._death()
            try:
                probe.get("/health")
                probe.get("/v1/models")
            except Unanswered:
                time.sleep(0.2)
            except Refused as error:
                if str(error).startswith("status 401"):
                    return Fault("another program answers on its port", True)
                time.sleep(0.2)
            else:
                print(f"server: ready after {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
                return None
            if time.monotonic() - reported > self.limits.report:
                reported = time.monotonic()
                print(f"server: {reported - begun:.0f} s, {self._last_line()}", file=sys.stderr, flush=True)
        return Fault(f"it was not ready within {self.limits.startup:.0f} s", False)

    def stop(self) -> None:
        """End it and everything that it started."""
        self.process.terminate()
        try:
            self.process.wait(self.limits.end)
        except subprocess.TimeoutExpired:
            self._kill()
        self.port.close()

    def _kill(self) -> None:
        """End what would not; only the kernel can keep a process from that (a driver that hangs), and we go on."""
        for pid in launcher.descendants(self.process.pid):
            launcher.kill(pid)
        try:
            self.process.wait(self.limits.end)  # the launcher sees them end, and ends
        except subprocess.TimeoutExpired:
            left = ", ".join(map(str, launcher.descendants(self.process.pid)))
            print(f"server: killed, and still there: process {left}", file=sys.stderr, flush=True)

    def _death(self) -> Fault:
        return diagnose(self.log, self.process.returncode)

    def _arguments(self, command: Command) -> list[str]:
        host, port = self.client.url.removeprefix("http://").split(":")
        served = ["serve", str(self.checkpoint), "--served-model-name", MODEL, "--host", host, "--port", port]
        return [str(command.python), "-m", "vllm.entrypoints.cli.main", *served, *command.flags]

    def _environment(self, command: Command) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" or command.inherits_path}
        return {**kept, **QUIET, **command.variables, "VLLM_API_KEY": self.client.key}

    def _last_line(self) -> str:
        lines = [line for line in text(self.log).splitlines() if line.strip()]
        return lines[-1][:160] if lines else "nothing written yet"

    def fault(self, error: Exception) -> str | None:
        """What happened to the server if that is what ``error`` came from, otherwise None."""
        if isinstance(error, UserError):
            return None
        with suppress(subprocess.TimeoutExpired):  # connections break a moment before the process is gone
            self.process.wait(self.limits.pause)
        if not self.alive:
            return f"died while it was in use: {self._death().cause}"
        if isinstance(error, TimeoutError) or (isinstance(error, Unanswered) and error.slow):
            return f"hangs: no answer within {self.limits.request:.0f} s"
        return None


@contextmanager
def serving(command: Command, checkpoint: Path, log: Path, limits: Limits | None = None) -> Iterator[Server]:
    """Yield a server that answers; a fault at its start or in its use is one line, after the log's tail."""
    with _ended_by(signal.SIGTERM):
        server = _started(command, checkpoint, log, limits or LIMITS)
        try:
            yield server
        except Exception as error:
            if problem := server.fault(error):
                raise _reported(server, problem) from error
            raise
        finally:
            server.stop()


def _started(command: Command, checkpoint: Path, log: Path, limits: Limits) -> Server:
    for remaining in reversed(range(limits.tries)):
        server = Server(command, checkpoint, log, limits)
        try:
            fault = server.wait()
        except BaseException:
            server.stop()
            raise
        if fault is None:
            return server
        server.stop()
        error = _reported(server, f"did not come up: {fault.cause}")
        if not fault.again or not remaining:
            raise error
        print(f"{error}: trying again", file=sys.stderr, flush=True)
        time.sleep(limits.pause)
    raise AssertionError("the last try returns or raises")


def _reported(server: Server, problem: str) -> UserError:
    """The one line, after the log's tail on standard error."""
    print(f"{tail(server.log)}\n--- the end of {server.log}", file=sys.stderr, flush=True)
    return UserError(f"the server of {server.checkpoint} {problem} (log: {server.log})")


@contextmanager
def _ended_by(number: signal.Signals) -> Iterator[None]:
    """Let a signal end this process by way of its ``finally`` clauses."""

    def leave(received: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + received)

    before = signal.signal(number, leave)
    try:
        yield
    finally:
        signal.signal(number, before)
