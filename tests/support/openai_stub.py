"""A small server on this machine that answers as OpenAI-compatible servers do, and fails as they fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from typing import Any


@dataclass
class Stub:
    """What the server does; tests change it, and read `requests`."""

    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "tiny", "max_model_len": 1000}])
    words: list[str] = field(default_factory=lambda: ["On ", "Sark", "."])
    key: str | None = None
    status: int = 200
    error: str = "the server says no"
    only_new_limit: bool = False
    tokenizer: str = ""
    finish: bool = True
    usage: dict[str, Any] | None = field(default_factory=lambda: {"prompt_tokens": 21, "completion_tokens": 3})
    slot_tokens: int | None = None
    page: bool = False
    counted: int = 0
    caches: bool = False
    """Tells of prompt tokens, which are words, and of those that an earlier prompt of the same salt began with."""
    read: list[tuple[str | None, list[str]]] = field(default_factory=list)
    word_s: float = 0.0
    first_word_s: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    broken: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def serve(stub: Stub) -> Iterator[Stub]:
    """Serves on 127.0.0.1 until the block ends; `stub.url` is the base URL without /v1."""
    with serving(type("Handler", (_Handler,), {"stub": stub})) as port:
        stub.url = f"http://127.0.0.1:{port}"
        yield stub


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port that it serves on."""
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests do."""


class _Handler(BaseHTTPRequestHandler):
    stub: Stub

    def do_GET(self) -> None:
        if self.stub.page:
            self._page()
        elif self.path == "/v1/models" and self._allowed():
            self._json(200, {"object": "list", "data": [{"object": "model", **entry} for entry in self.stub.models]})
        elif self.path == "/props" and self.stub.slot_tokens:
            self._json(200, {"default_generation_settings": {"n_ctx": self.stub.slot_tokens}})
        else:
            self._json(404, {"error": {"message": "no such path"}})

    def _page(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self._tokenize(body)
        elif self.path == "/v1/chat/completions" and self._allowed():
            self.stub.requests.append(body)
            self._chat(body)

    def _allowed(self) -> bool:
        if self.stub.key and self.headers.get("Authorization") != f"Bearer {self.stub.key}":
            given = self.headers.get("Authorization", "")
            self._json(401, {"error": {"message": f"bad key: {given}"}})
            return False
        return True

    def _tokenize(self, body: dict[str, Any]) -> None:
        text = body.get("prompt") or body.get("content") or " ".join(m["content"] for m in body.get("messages", ()))
        words = text.split()
        self.stub.counted += 1
        takes = {"vllm": ("prompt", "messages"), "text": ("prompt",)}.get(self.stub.tokenizer, ())
        if any(name in body for name in takes):
            self._json(200, {"count": len(words), "max_model_len": 1000, "tokens": list(range(len(words)))})
        elif self.stub.tokenizer == "llama.cpp" and "content" in body:
            self._json(200, {"tokens": list(range(len(words)))})
        else:
            self._json(404, {"error": {"message": "no such path"}})

    def _chat(self, body: dict[str, Any]) -> None:
        stub = self.stub
        if stub.only_new_limit and "max_tokens" in body:
            self._json(400, {"error": {"message": "Unsupported parameter: use 'max_completion_tokens' instead."}})
            return
        if stub.status != 200:
            self._json(stub.status, {"error": {"message": stub.error}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            time.sleep(stub.first_word_s)
            for word in stub.words:
                self._event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
                time.sleep(stub.word_s)
            if stub.finish:
                self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                if usage := self._cached(body) if stub.caches else stub.usage:
                    self._event({"choices": [], "usage": {"total_tokens": 24, **usage}})
                self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            stub.broken.set()

    def _cached(self, body: dict[str, Any]) -> dict[str, Any]:
        salt, words = body.get("cache_salt"), " ".join(m["content"] for m in body["messages"]).split()
        alike = [before for known, before in self.stub.read if known == salt]
        same = ([a == b for a, b in zip(words, before, strict=False)] for before in alike)
        cached = max((len(list(takewhile(bool, each))) for each in same), default=0)
        self.stub.read.append((salt, words))
        details = {"cached_tokens": cached}
        return {"prompt_tokens": len(words), "completion_tokens": 3, "prompt_tokens_details": details}

    def _event(self, data: dict[str, Any]) -> None:
        base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
        self.wfile.write(f"data: {json.dumps(base | data)}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""
