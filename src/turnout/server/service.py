"""What a server holds, and how it asks: with back-pressure, measured, and given up when its caller is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
from fastapi import Request

from turnout.client import Turnout
from turnout.errors import Cancelled
from turnout.server.gate import Gate
from turnout.server.metrics import Metrics
from turnout.server.options import Options
from turnout.tokens import Token, Tokens
from turnout.types import Answer, Done, StreamEvent

T = TypeVar("T")

GONE_CHECK_S = 0.5
SLOW_AT_ONCE = 4
"""Uploads, plans and embeddings that are worked on at once; others wait."""


class HasDocuments(Protocol):
    """A request that may be over certain documents."""

    @property
    def documents(self) -> Sequence[object] | None: ...


@dataclass(slots=True)
class Service:
    """One server. `problem` says why it is not ready, "" when it is."""

    turnout: Turnout
    tokens: Tokens
    options: Options
    gate: Gate
    metrics: Metrics = field(default_factory=Metrics)
    started: float = field(default_factory=time.time)
    problem: str = "starting"
    _slow: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(SLOW_AT_ONCE))

    async def events(
        self, request: Request, token: Token | None, question: str, **asked: Any
    ) -> AsyncGenerator[StreamEvent, None]:
        """The events of one question; leaving them stops the engine.

        Args:
            asked: as `Turnout.stream` takes it.

        Raises:
            EngineBusyError, Refused: too many questions are in flight.
        """
        with self.gate.question(token), self.metrics.going.track_inprogress():
            begin = time.perf_counter()
            async with contextlib.aclosing(self.turnout.astream(question, **asked)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        # What was not this is the server's own, see `Watched`.
                        request.state.answering_s = time.perf_counter() - begin
                        self.metrics.answered(event.answer)
                    yield event

    async def answer(self, request: Request, token: Token | None, question: str, **asked: Any) -> Answer:
        """The answer to one question; it is given up when its caller is gone."""

        async def last() -> Answer:
            async with contextlib.aclosing(self.events(request, token, question, **asked)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        return event.answer
            raise Cancelled("the stream ended without an answer")

        return await while_there(request, last())

    async def looked_up(self, over: HasDocuments, work: Callable[[], T]) -> T:
        """The outcome of reading a request: in a thread where it names or brings documents."""
        return work() if over.documents is None else await asyncio.to_thread(work)

    async def slowly(self, work: Callable[[], T]) -> T:
        """The outcome of work that takes a while, in threads of its own: requests that are quick don't wait for it."""
        return await anyio.to_thread.run_sync(work, limiter=self._slow)

    async def watch_loop(self) -> None:
        """Measures how late the event loop wakes, until it is cancelled."""
        pause = 0.1
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(pause)
            self.metrics.lag.observe(max(0.0, time.perf_counter() - begin - pause))


def service(request: Request) -> Service:
    """The server's own, for its routes."""
    held: Service = request.app.state.service
    return held


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """The outcome of some work, which is cancelled once the client has closed its connection.

    Raises:
        Cancelled: it has.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=GONE_CHECK_S)
            if not task.done() and await request.is_disconnected():
                raise Cancelled("the client is gone")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def paused(events: AsyncGenerator[T, None], every_s: float) -> AsyncIterator[T | None]:
    """The events, and None for each time that `every_s` seconds pass without one."""
    coming: asyncio.Future[T] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events))
            await asyncio.wait({coming}, timeout=every_s)
            if not coming.done():
                yield None
                continue
            try:
                event = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield event
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
        await events.aclose()
