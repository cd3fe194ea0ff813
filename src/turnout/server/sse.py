"""Server-sent events: lines of JSON, with comments in between so that nobody takes a long reading for a dead line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from turnout.server.plain import plain

T = TypeVar("T")

MEDIA_TYPE = "text/event-stream"
PAUSE_S = 15.0
END = "data: [DONE]\n\n"


def sent(record: Mapping[str, Any]) -> str:
    """One event. ASCII, since some clients break lines at other characters than the protocol does."""
    return f"data: {json.dumps(plain(record))}\n\n"


def pause() -> str:
    """Says that the answer is still coming."""
    return ": waiting\n\n"


async def begun(events: AsyncIterator[T], shows: Callable[[T], bool]) -> tuple[list[T], AsyncIterator[T]]:
    """The events up to the first that shows that all is well, and what is left: what fails before it is still answered
    with a status of its own."""
    first: list[T] = []
    async for event in events:
        first.append(event)
        if shows(event):
            break
    return first, events
