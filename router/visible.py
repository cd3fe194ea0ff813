"""From engine events to what a caller may see: text that could still become the refusal sentence is held back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from turnout.router.check import is_refusal, may_become_refusal
from turnout.types import EngineEvent, Finished, Prefilled, TextDelta, Token


def visible(events: Iterable[EngineEvent]) -> Iterator[Prefilled | TextDelta | Finished]:
    """Passes progress on and joins held text with what follows; a whole answer that is a refusal is never shown."""
    held, open_ = "", False
    for event in events:
        match event:
            case Token(text):
                held += text
                if open_ or not may_become_refusal(held):
                    open_ = True
                    yield TextDelta(held)
                    held = ""
            case Finished():
                if held and not is_refusal(held):
                    yield TextDelta(held)
                yield event
            case Prefilled():
                yield event
