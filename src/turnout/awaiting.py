"""What a `Turnout` does for async callers: the same answers and events, without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any

from turnout.errors import Cancelled
from turnout.inputs import Input
from turnout.types import Answer, Decision, Done, StreamEvent


class Awaits(ABC):
    """The part of `Turnout` that async callers ask."""

    @abstractmethod
    def plan(self, *asked: Any, **options: Any) -> Decision: ...

    @abstractmethod
    def stream(self, *asked: Any, **options: Any) -> Generator[StreamEvent, None, None]: ...

    async def aplan(self, question: str, documents: Input | Iterable[Input] | None = None, **options: Any) -> Decision:
        """`plan` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.plan(question, documents, **options))

    async def aask(self, question: str, documents: Input | Iterable[Input] | None = None, **options: Any) -> Answer:
        """`ask` without blocking the event loop; cancelling the task stops the engine."""
        async with contextlib.aclosing(self.astream(question, documents, **options)) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event.answer
        raise Cancelled("the stream ended without an answer")

    async def astream(
        self, question: str, documents: Input | Iterable[Input] | None = None, **options: Any
    ) -> AsyncGenerator[StreamEvent, None]:
        """`stream` for async callers: the same events; leaving the loop or cancelling the task stops the engine."""
        loop, gone = asyncio.get_running_loop(), threading.Event()
        queue: asyncio.Queue[StreamEvent | BaseException | None] = asyncio.Queue()
        ended = asyncio.Event()

        def send(item: StreamEvent | BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(queue.put_nowait, item)
            except RuntimeError:  # the loop is closed: nobody listens any more
                gone.set()

        def work() -> None:
            try:
                for event in self.stream(question, documents, stopped=gone.is_set, **options):
                    send(event)
                send(None)
            except BaseException as error:
                send(error)
            finally:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(ended.set)

        # A thread of its own: in a shared pool a question that waits its turn would keep others from being cancelled.
        threading.Thread(target=work, name="turnout", daemon=True).start()
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            gone.set()
            await ended.wait()
