"""A real server on a real port of this machine, in a thread of the test."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import uvicorn

from turnout import Turnout
from turnout.server.app import create_app
from turnout.server.options import Options
from turnout.tokens import Tokens

PLAIN: dict[str, bool] = {"verify": False, "trust_env": False}
"""Without certificates, whose loading takes longer than most requests here."""


@dataclass
class Served:
    """A running server; `key` is sent by `client` and `http` unless they are given another."""

    url: str
    tokens: Tokens
    server: uvicorn.Server
    key: str = ""

    def http(self, key: str | None = None) -> httpx.Client:
        key = self.key if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **PLAIN)

    def token(self, name: str, *collections: str, **options: object) -> str:
        return self.tokens.create(name, collections, **options)[1]  # type: ignore[arg-type]


@contextlib.contextmanager
def served(turnout: Turnout, home: object, **options: object) -> Iterator[Served]:
    """Serves a `Turnout` until the block ends."""
    tokens = Tokens.open(home=home)
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    app = create_app(turnout, tokens, Options(**options))  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=10))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    until(lambda: httpx.get(f"{url}/ready", **PLAIN).status_code == 200)
    try:
        yield Served(url, tokens, server)
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


def until(holds: object, seconds: float = 20) -> None:
    """Waits for something to hold."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            if holds():  # type: ignore[operator]
                return
        time.sleep(0.02)
    raise AssertionError("it never came to hold")
