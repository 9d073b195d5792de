"""Stands in for a Python with vLLM: takes its command line, and answers, dies or hangs as ``FAKE_VLLM`` says.

Like vLLM it has a process of its own session below it; the ids of both go to the file ``FAKE_VLLM_PIDS``. Token ``t``
has log-probability ``-(t % 7 + 1) / 4`` wherever it stands.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECONDS_PER_TOKEN = 0.01
CORE = "(EngineCore pid=7) ERROR 11-23 08:05:45 [core.py:1160] "
DEATHS = {
    "dies-loading": "ValueError: There is no module or parameter named 'x' in LlamaForCausalLM",
    "lacks-tensor": "ValueError: Following weights were not initialized from checkpoint: {'model.norm.weight'}",
    "out-of-memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "port-taken": "OSError: [Errno 98] error while attempting to bind on address: address already in use",
    "memory-race": "AssertionError: Error in memory profiling. Initial free memory 100.0 GiB, current free 120.0 GiB.",
}
ROOT = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


def log_probability(token: int) -> float:
    return -(token % 7 + 1) / 4


class Handler(BaseHTTPRequestHandler):
    """The few answers that an evaluation asks for."""

    served = 0

    def do_GET(self) -> None:
        stranger = self.path == "/v1/models" and os.environ.get("FAKE_VLLM", "") == "stranger"
        known = self.headers["Authorization"] == f"Bearer {os.environ['VLLM_API_KEY']}"
        if self.path.startswith("/v1") and (stranger or not known):
            self.answer({"error": "Unauthorized"}, 401)
            return
        self.answer({"version": "0.0.fake"} if self.path == "/version" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            self.answer({"error": "Unauthorized"}, 401)
            return
        Handler.served += 1
        misbehave(body, Handler.served)
        if body.get("stream"):
            self.stream(body["max_tokens"])
        else:
            time.sleep(SECONDS_PER_TOKEN * body["max_tokens"] if body.get("ignore_eos") else 0)
            self.answer({"choices": [choice(i, ids, body) for i, ids in reversed(list(enumerate(body["prompt"])))]})

    def answer(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, n: int) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(n):
            self.wfile.write(f"data: {json.dumps({'choices': [{'text': 'a'}]})}\n\n".encode())
            self.wfile.flush()
            time.sleep(SECONDS_PER_TOKEN)
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *arguments: object) -> None:
        pass


def choice(index: int, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"index": index, "text": " a"}
    if "prompt_logprobs" in body:
        found["prompt_logprobs"] = [None, *({str(t): {"logprob": log_probability(t)} for _ in [0]} for t in ids[1:])]
    if body.get("echo"):
        values = [None, *map(log_probability, ids[1:]), -0.5]
        tops = [None if value is None else {"t": value} for value in values]
        found["logprobs"] = {"token_logprobs": values, "top_logprobs": tops}
    return found


def misbehave(body: dict[str, Any], served: int) -> None:
    mode = os.environ.get("FAKE_VLLM", "")
    if (mode == "dies-in-use" and served > 1) or (mode == "dies-of-tasks" and body.get("echo")):
        print(f"{CORE}torch.AcceleratorError: CUDA error: an illegal memory access was encountered", flush=True)
        os._exit(1)
    if mode == "hangs-in-use" and served > 1:
        time.sleep(1000)
    if mode == "refuses":
        raise ValueError("a bug of the server")


def main() -> None:
    mode, pids = os.environ.get("FAKE_VLLM", ""), Path(os.environ["FAKE_VLLM_PIDS"])
    core = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(pids, "a") as stream:
        stream.write(f"{os.getpid()} {core.pid}\n")
    first = len(pids.read_text().splitlines()) == 1
    if mode.removesuffix("-once") in DEATHS and (first or not mode.endswith("-once")):
        print("Loading checkpoint shards:   0%\rLoading checkpoint shards: 100%")
        print(f"{CORE}Traceback (most recent call last):\n{CORE}{DEATHS[mode.removesuffix('-once')]}")
        print(f"(APIServer pid=6) {ROOT}", flush=True)
        sys.exit(1)
    if mode == "killed-loading":
        print("loading", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "never-ready" or (mode == "second-never-ready" and not first):
        time.sleep(1000)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    print(f"serving {sys.argv[4:]}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
