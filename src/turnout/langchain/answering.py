"""The answer to one call, as events of turnout; what failed before anything was shown can be tried again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any

from turnout.errors import TurnoutError
from turnout.langchain import sources
from turnout.langchain.call import Call
from turnout.langchain.messages import Asked
from turnout.langchain.opened import Opened
from turnout.types import StreamEvent, TextDelta

LONGEST_WAIT_S = 8.0


class Answering:
    """One question with everything that it is asked with.

    Args:
        steady: show no text that may have to be taken back.
    """

    def __init__(self, opened: Opened, asked: Asked, call: Call, steady: bool) -> None:
        self._opened = opened
        self._asked = asked
        self._call = call
        self._steady = steady

    def events(self) -> Generator[StreamEvent, None, None]:
        """The events of the first try that does not fail, or of the last."""
        turnout = self._opened.take(self._call.model)
        try:
            self._opened.close_unused()
            for attempt in range(self._call.max_retries + 1):
                shown = False
                try:
                    documents = sources.resolve(turnout, self._call.documents, self._call.collection)
                    stream = turnout.stream(self._asked.question, documents, **self._options())
                    with contextlib.closing(stream) as events:
                        for event in events:
                            shown = shown or isinstance(event, TextDelta)
                            yield event
                    return
                except TurnoutError as error:
                    if not self._again(error, attempt, shown):
                        raise
                time.sleep(_wait(attempt))
        finally:
            self._opened.release(turnout)
            self._opened.close_unused()

    async def aevents(self) -> AsyncGenerator[StreamEvent, None]:
        """As `events`; cancelling stops the engine."""
        turnout = self._opened.take(self._call.model)
        try:
            await asyncio.to_thread(self._opened.close_unused)
            for attempt in range(self._call.max_retries + 1):
                shown = False
                try:
                    documents = await asyncio.to_thread(
                        sources.resolve, turnout, self._call.documents, self._call.collection
                    )
                    stream = turnout.astream(self._asked.question, documents, **self._options())
                    async with contextlib.aclosing(stream) as events:
                        async for event in events:
                            shown = shown or isinstance(event, TextDelta)
                            yield event
                    return
                except TurnoutError as error:
                    if not self._again(error, attempt, shown):
                        raise
                await asyncio.sleep(_wait(attempt))
        finally:
            self._opened.release(turnout)
            await asyncio.to_thread(self._opened.close_unused)

    def _options(self) -> dict[str, Any]:
        return {
            "collection": self._call.collection,
            "budget": self._call.budget,
            "strategy": self._call.strategy,
            "history": self._asked.history,
            "instructions": self._asked.instructions,
            "decoding": self._call.decoding,
            "escalate": self._call.escalate,
            "max_regret": self._call.max_regret,
            "steady": self._steady,
        }

    def _again(self, error: TurnoutError, attempt: int, shown: bool) -> bool:
        return error.retryable and not shown and attempt < self._call.max_retries


def _wait(attempt: int) -> float:
    return min(0.5 * 2.0**attempt, LONGEST_WAIT_S)
