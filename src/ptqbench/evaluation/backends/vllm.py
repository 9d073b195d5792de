"""Evaluation as deployed: ``vllm serve`` on this host, asked over its OpenAI API with prompts of token ids."""

from __future__ import annotations

import base64
import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptqbench.data.images import Item
from ptqbench.devices import gpu_slots
from ptqbench.errors import UserError
from ptqbench.evaluation import startup
from ptqbench.evaluation.backends.text import Setup, Text
from ptqbench.evaluation.client import MODEL, Client
from ptqbench.evaluation.memory import GIB, device_name, server_memory
from ptqbench.evaluation.runtime import server_python
from ptqbench.evaluation.server import Command, Server, serving
from ptqbench.formats.complete import lacking

MEMORY = 0.8  # share of a GPU: vLLM plans nothing for prompt log-probabilities, [tokens, vocabulary] in float32
CACHE = 0.5  # of a server's share, for keys and values, where jobs share a GPU
STARTUP = Path(startup.__file__).parent
LOGPROBS = 20  # that a server gives unless told
COMMON = ("--disable-uvicorn-access-log", "--disable-log-stats")


class Backend(Text):
    """A checkpoint that a server holds."""

    exact = False  # of its predictions a server names the likeliest tokens

    def __init__(self, text: Text, setup: Setup, server: Server) -> None:
        super().__init__(text.folder, text.remote)
        self.setup, self.server = setup, server
        self.client: Client = server.client

    def token_losses(self, cut: Tensor, batch_size: int) -> Iterator[Tensor]:
        """See :func:`ptqbench.evaluation.perplexity.token_losses`."""
        for batch in cut.split(batch_size):
            choices = self.client.complete(batch.tolist(), max_tokens=1, prompt_logprobs=0)
            pairs = zip(batch.tolist(), choices, strict=True)
            losses = [prompt_losses(ids, choice["prompt_logprobs"]) for ids, choice in pairs]
            yield torch.tensor(losses, dtype=torch.float64)

    def predictions(self, cut: Tensor, batch_size: int, top_k: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Of each window's tokens but the first the ``top_k`` likeliest, and the one that came: see `prompt_tops`."""
        for batch in cut.split(batch_size):
            choices = self.client.complete(batch.tolist(), max_tokens=1, prompt_logprobs=top_k)
            yield [prompt_tops(choice["prompt_logprobs"], top_k) for choice in choices]

    def answers(self, items: Sequence[Item], limit: int) -> list[str]:
        """Greedy answers of at most ``limit`` tokens, asked at once."""

        def ask(item: Item) -> str:
            image = base64.b64encode(item.image).decode()
            seen = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
            said = {"type": "text", "text": item.question + item.request}
            return self.client.chat([seen, said], max_tokens=limit, add_special_tokens=True).strip()

        with ThreadPoolExecutor(max(1, len(items))) as pool:
            return list(pool.map(ask, items))

    def harness(self, batch_size: int, length: int) -> Any:
        """lm-eval's client of the server, for prompts of at most ``length`` tokens and ``batch_size`` at a time."""
        from ptqbench.evaluation.backends.harness import Served

        for name in ("lm_eval.models.api_models", "asyncio"):
            logging.getLogger(name).addFilter(_is_news)
        return Served(
            model=MODEL,
            base_url=f"{self.client.url}/v1/completions",
            header=self.client.headers,
            tokenizer=str(self.folder),
            tokenizer_backend="huggingface",
            trust_remote_code=self.remote,
            add_bos_token=None,
            custom_prefix_token_id=self.first_token,
            num_concurrent=max(2, batch_size),
            max_retries=1,
            max_length=length + 1,
            timeout=math.ceil(self.client.seconds),
        )

    def memory(self) -> dict[str, float]:
        """Bytes by metric: see :func:`ptqbench.evaluation.memory.server_memory`."""
        return server_memory(self.setup.device, self.server.log, self.folder, self.server.process.pid)

    def record(self) -> dict[str, Any]:
        """The device, and the version that served. What the server reserves says nothing about what it needs."""
        version = json.loads(self.client.get("/version"))["version"]
        return {"device": device_name(self.setup.device), "peak_memory_bytes": None, "server": f"vllm {version}"}


@contextmanager
def opened(text: Text, setup: Setup) -> Iterator[Backend]:
    """A checkpoint, served; a missing tensor is named before a server starts, which might not notice."""
    if missing := lacking(text.folder):
        raise UserError(f"the checkpoint {text.folder} lacks the tensor {missing[0]}: export or fetch it again")
    with serving(command(text.config, setup), text.folder, setup.log) as server:
        yield Backend(text, setup, server)


def command(config: Any, setup: Setup) -> Command:
    """The server for a suite's prompts and one token more."""
    flags = ["--max-model-len", str(setup.length + 1), *COMMON, *setup.flags]
    flags += () if setup.compiled else scoring(setup)
    flags += ["--max-logprobs", str(setup.logprobs)] if setup.logprobs > LOGPROBS else []
    flags += ["--trust-remote-code"] if setup.remote else []
    flags += ["--tensor-parallel-size", str(setup.gpus)] if setup.device != "cpu" and setup.gpus > 1 else []
    if config.dtype is not None:  # by default a float32 model would be served in 16 bits
        flags += ["--dtype", str(config.dtype).removeprefix("torch.")]
    # the token more is not read back: no position beyond the model's
    variables = {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}
    if setup.backend == "vllm-cpu":
        flags += ["--distributed-executor-backend", "uni"]  # the worker in the engine's own process
        variables |= cpu_variables(config, setup)
    return Command(server_python(setup.marker), tuple(flags), variables, inherits_path=setup.marker is None)


def scoring(setup: Setup) -> tuple[str, ...]:
    """Flags of a server that scores prompts, of which each job that may share the GPU has one.

    Such servers do not measure what memory is free, which others take and give back: their caches are of a fixed size.
    """
    shared = setup.device != "cpu" and setup.gpus == 1 and gpu_slots() > 1
    share = MEMORY / gpu_slots() if shared else MEMORY
    flags = ("--enforce-eager", "--gpu-memory-utilization", f"{share:.3f}")
    if not shared:
        return flags
    memory = torch.cuda.get_device_properties(0).total_memory
    return *flags, "--kv-cache-memory-bytes", str(int(CACHE * share * memory))


def cpu_variables(config: Any, setup: Setup) -> dict[str, str]:
    """Room for four prompts, at least 1 GiB; the threads that the job was given; 16-bit activations.

    Where the CPU has AMX, vLLM by default runs 4-bit weights with activations rounded to 8 bits: another precision than
    the checkpoint says.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache = 4 * (setup.length + 1) * 2 * 2 * text.num_hidden_layers * heads * width
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, math.ceil(cache / GIB))),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_INT4_W4A8": "0",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "PYTHONPATH": str(STARTUP),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1)),
        **({} if setup.compiled else {"TORCHDYNAMO_DISABLE": "1"}),
    }


def prompt_losses(ids: list[int], logprobs: list[dict[str, Any] | None]) -> list[float]:
    """``-log p`` of a prompt's tokens but the first, from ``prompt_logprobs``."""
    pairs = zip(ids[1:], logprobs[1:], strict=True)
    return [-position[str(token)]["logprob"] for token, position in pairs if position]


def prompt_tops(logprobs: list[dict[str, Any] | None], top_k: int) -> tuple[Tensor, Tensor]:
    """Tokens and their log-probabilities ``[t, top_k + 1]`` in ``prompt_logprobs``, for each token but the first.

    -inf where it names fewer, because the one that came is among the likeliest.
    """
    named = [position for position in logprobs[1:] if position]
    tokens = torch.zeros(len(named), top_k + 1, dtype=torch.long)
    values = torch.full(tokens.shape, -torch.inf, dtype=torch.float64)
    for row, position in enumerate(named):
        tokens[row, : len(position)] = torch.tensor([int(token) for token in position])
        values[row, : len(position)] = torch.tensor([one["logprob"] for one in position.values()])
    return tokens, values


def _is_news(record: logging.LogRecord) -> bool:
    """Of a broken server every waiting request says so, with the key; the fault itself is told once, by ``serving``."""
    return not record.getMessage().startswith(("Exception:", "Task exception was never retrieved"))
