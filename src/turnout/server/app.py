"""The application: routes, and what stands around them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from turnout import __version__
from turnout.client import Turnout
from turnout.server import chat, errors, library, models, questions
from turnout.server.access import Door, Observes
from turnout.server.gate import Gate
from turnout.server.middleware import Bounded, Watched
from turnout.server.options import Options
from turnout.server.service import Service
from turnout.tokens import Tokens

_log = logging.getLogger("turnout.server")

AGAIN_S = 5.0
"""Pause before what is not ready is tried again, such as a model whose server is down."""

_FAILS: dict[int | str, dict[str, Any]] = {
    status: {"model": errors.ErrorBody, "description": what}
    for status, what in {
        400: "The request can't be meant, or nothing can be answered so",
        401: "No key, or one that is not known",
        403: "The key has no right to this",
        404: "Nothing of that name for this key",
        413: "The request is too large",
        429: "Too much at once; Retry-After says when to come again",
        500: "It failed",
        501: "This installation lacks a library for it",
        503: "It failed for now",
        504: "It took longer than the budget allows",
    }.items()
}


def create_app(turnout: Turnout, tokens: Tokens, options: Options | None = None) -> FastAPI:
    """The server over a `Turnout`, which it opens, and closes at its end, with the tokens."""
    options = options or Options()
    held = Service(turnout, tokens, options, Gate("the server", options.max_questions))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(held.watch_loop()), asyncio.create_task(_ready(held))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(turnout.close)
            await asyncio.to_thread(tokens.close)

    # Their pages would load scripts from elsewhere.
    app = _App(title="turnout", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, responses=_FAILS)
    app.state.service = held
    errors.install(app)
    for part in (chat, models, questions, library):
        app.include_router(part.router)
    _own_routes(app, held)
    app.add_middleware(Door, held=held, guarded=("/v1/", "/metrics"))
    app.add_middleware(Bounded, most_bytes=int(options.max_request_mb * 2**20))
    app.add_middleware(Watched, metrics=held.metrics)
    return app


class _App(FastAPI):
    """Describes requests that can't be read as they are answered: with 400."""

    def openapi(self) -> dict[str, Any]:
        described = super().openapi()
        for path in described["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return described


async def _ready(held: Service) -> None:
    """Opens the library and finds the model, however long that takes; its weights are loaded by the first question."""
    while held.problem:
        try:
            await asyncio.to_thread(lambda: held.turnout.open().model)
            held.problem = ""
        except Exception as error:  # whatever it is, it is no reason to end: the log says it, and so does /ready
            _log.error("not ready: %s", error)
            held.problem = f"not ready ({type(error).__name__})"
            await asyncio.sleep(AGAIN_S)


def _own_routes(app: FastAPI, held: Service) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> JSONResponse:
        """The library is open and the model is here."""
        if held.problem:
            return JSONResponse({"status": held.problem}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", response_class=Response)
    async def metrics(caller: Observes) -> Response:
        """What is measured, for Prometheus."""
        return Response(generate_latest(held.metrics.registry), media_type=CONTENT_TYPE_LATEST)
