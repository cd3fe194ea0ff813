"""A proxy on this machine between an engine and an OpenAI-compatible server, which breaks what passes as told."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from support.openai_stub import serving


@dataclass(frozen=True)
class Fault:
    """What happens to one request for a chat.

    Attributes:
        status: answered at once with this, and `headers`; nothing reaches the server.
        drop: the connection is closed instead of an answer.
        cut_after: events after which the connection is closed in the middle of the stream.
        line_s: seconds before each line of the stream.
        edit: changes each event of the stream; None leaves it out.
        without: fields of the request that don't reach the server.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    cut_after: int | None = None
    line_s: float = 0.0
    edit: Callable[[dict[str, Any]], Any] | None = None
    without: tuple[str, ...] = ()


@dataclass
class Proxy:
    """`faults` are taken one a chat, then everything passes. `chats` counts what the engine sent, `passed` what got
    through to the server."""

    target: str
    faults: list[Fault] = field(default_factory=list)
    chats: int = 0
    passed: int = 0
    url: str = ""


@contextmanager
def between(target: str, *faults: Fault) -> Iterator[Proxy]:
    """Serves on 127.0.0.1 until the block ends.

    Args:
        target: base URL of the server, with or without a path.
    """
    parts = urlsplit(target)
    proxy = Proxy(f"{parts.hostname}:{parts.port}", list(faults))
    with serving(type("Handler", (_Handler,), {"proxy": proxy})) as port:
        proxy.url = f"http://127.0.0.1:{port}{parts.path}"
        yield proxy


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def do_GET(self) -> None:
        self._pass(None, Fault())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = Fault()
        if self.path.endswith("/chat/completions"):
            self.proxy.chats += 1
            fault = self.proxy.faults.pop(0) if self.proxy.faults else fault
        if fault.drop:
            self._break()
        elif fault.status:
            self.send_response(fault.status)
            for name, value in {"Content-Length": "0", **fault.headers}.items():
                self.send_header(name, value)
            self.end_headers()
        else:
            self._pass(body, fault)

    def _pass(self, body: bytes | None, fault: Fault) -> None:
        if body is not None and fault.without:
            body = json.dumps({k: v for k, v in json.loads(body).items() if k not in fault.without}).encode()
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        upstream = http.client.HTTPConnection(self.proxy.target)
        try:
            upstream.request(self.command, self.path, body, kept)
            answer = upstream.getresponse()
            self.proxy.passed += self.path.endswith("/chat/completions")
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self._stream(answer, fault)
        finally:
            upstream.close()

    def _stream(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        events = 0
        for line in answer:
            time.sleep(fault.line_s)
            if line.startswith(b"data: {"):
                if events == fault.cut_after:
                    self._break()
                    return
                events += 1
                event = json.loads(line[len("data: ") :])
                if fault.edit is not None and (event := fault.edit(event)) is None:
                    continue
                line = b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n"
            self.wfile.write(line)
            self.wfile.flush()

    def _break(self) -> None:
        """Closes the connection with a reset, as a server does that is gone."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        with suppress(ValueError, OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""
