"""Around every request: how large it may be, what is measured and logged of it, and headers that browsers heed."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from turnout.server.errors import Refused
from turnout.server.metrics import Metrics

_log = logging.getLogger("turnout.server")

_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Watched:
    """Measures and logs each request by its route, never by its path, query, headers or body."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 0
        scope.setdefault("state", {})

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            self._end(scope, status, time.perf_counter() - begin)

    def _end(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        state: dict[str, Any] = scope["state"]
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if (answering_s := state.get("answering_s")) is not None:
            self._metrics.own.observe(max(0.0, seconds - answering_s))
        _log.info("%s %s %d %.3fs %s", scope["method"], route, status, seconds, state.get("key") or "-")


class Bounded:
    """Refuses requests over a number of bytes: by what they say, and by what comes."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app, self._most = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > self._most:
            await self._refusal().response()(scope, receive, send)
            return
        come = 0

        async def bounded() -> Message:
            nonlocal come
            message = await receive()
            come += len(message.get("body", b""))
            if come > self._most:
                raise HTTPException(413, self._refusal().message)
            return message

        await self._app(scope, bounded, send)

    def _refusal(self) -> Refused:
        most = f"{self._most / 2**20:g} MB"
        return Refused(413, f"a request may have at most {most}", "request_too_large", hint="--max-request-mb lifts it")
