"""Requests to a server on this host: JSON over HTTP, never through a proxy."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

DONE = "[DONE]"


class Unanswered(Exception):
    """The server is gone or, if ``slow``, did not answer in time."""

    def __init__(self, problem: str, error: Exception) -> None:
        super().__init__(f"{problem} ({type(error).__name__}: {error})")
        self.slow = isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)


class Refused(Exception):
    """The server answered that it will not: its status and words."""


@dataclass(frozen=True)
class Client:
    """Where a server is and how to be let in; ``seconds`` is how long an answer may take."""

    url: str
    key: str
    seconds: float

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}

    def get(self, path: str) -> bytes:
        """The body at ``path``."""
        with self._open(path, None) as response:
            return response.read()

    def post(self, path: str) -> None:
        """Ask for what ``path`` does."""
        with self._open(path, {}):
            pass

    def complete(self, prompts: list[list[int]], **options: Any) -> list[dict[str, Any]]:
        """The choices of ``/v1/completions`` for prompts of token ids, in their order.

        Raises :class:`Unanswered` where the answer breaks off.
        """
        body = {"model": MODEL, "prompt": prompts, "temperature": 0, **options}
        with self._open("/v1/completions", body) as response:
            try:
                choices = json.loads(response.read())["choices"]
            except (OSError, HTTPException, json.JSONDecodeError) as error:
                raise Unanswered("the answer broke off", error) from error
        return sorted(choices, key=lambda choice: choice["index"])

    def chat(self, content: list[dict[str, Any]], **options: Any) -> str:
        """The answer of ``/v1/chat/completions`` to one turn of the user.

        Raises :class:`Unanswered` where the answer breaks off.
        """
        turn = [{"role": "user", "content": content}]
        body = {"model": MODEL, "messages": turn, "temperature": 0, **options}
        with self._open("/v1/chat/completions", body) as response:
            try:
                answer: str = json.loads(response.read())["choices"][0]["message"]["content"]
            except (OSError, HTTPException, json.JSONDecodeError) as error:
                raise Unanswered("the answer broke off", error) from error
        return answer

    def stream(self, prompt: list[int], **options: Any) -> Iterator[dict[str, Any]]:
        """Chunks of one completion, as they come.

        Raises :class:`Unanswered` where the answer breaks off.
        """
        body = {"model": MODEL, "prompt": [prompt], "temperature": 0, "stream": True, **options}
        with self._open("/v1/completions", body) as response:
            try:
                for line in response:
                    content = line.decode().removeprefix("data:").strip()
                    if content and content != DONE:
                        yield json.loads(content)
            except (OSError, HTTPException) as error:
                raise Unanswered("the answer broke off", error) from error

    def _open(self, path: str, body: dict[str, Any] | None) -> HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            response: HTTPResponse = opener.open(request, timeout=self.seconds)
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")[:500]
            raise Refused(f"status {error.code}: {words}") from error
        except (OSError, HTTPException) as error:
            raise Unanswered(f"no answer from {self.url}", error) from error
        return response


HOST = "127.0.0.1"
MODEL = "model"  # the name under which every server serves its one model


def reserve_port() -> socket.socket:
    """A port of the loopback that nobody else gets until the socket is closed, and that a server may listen on.

    Servers set SO_REUSEADDR, and share the address with a socket that does the same and never listens; the kernel
    gives the port to nobody who asks for any.
    """
    reserved = socket.socket()
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        reserved.setsockopt(socket.SOL_SOCKET, option, 1)
    reserved.bind((HOST, 0))
    return reserved
