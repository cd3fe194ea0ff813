"""What runs and waits on an engine: the requests that it has accepted and not finished, counted as they go on.

Telling it costs a walk over those requests in memory: no model call and no network. What other processes ask of a
server is not seen here; it shows in the times that the ledger learns from.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

from turnout.types import EngineEvent, Prefilled, Token


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine still has to do for others.

    Attributes:
        waiting: requests whose prompts are not read to their end, so far as can be told.
        running: requests whose answers are being written.
        unread_tokens: of the prompts of those that wait.
        prompt_tokens: of all their prompts.
        unwritten_tokens: that all their answers may still get, at most.
        in_turn: a new request is begun when all of them are done; else an engine may do it beside them, as servers do.
        step_tokens: prompt tokens that are read between two tokens of an answer, by an engine that reads several
            prompts side by side, see `scheduler.shares`; 0 where a new one is read after those that came before.
    """

    waiting: int = 0
    running: int = 0
    unread_tokens: int = 0
    prompt_tokens: int = 0
    unwritten_tokens: int = 0
    in_turn: bool = True
    step_tokens: int = 0


@dataclass(eq=False, slots=True)
class _Request:
    prompt: int
    unread: int
    unwritten: int


class InFlight:
    """The requests of one engine; safe to use from several threads.

    Args:
        in_turn: see `Load`.
    """

    def __init__(self, *, in_turn: bool) -> None:
        self._in_turn = in_turn
        self._requests: set[_Request] = set()
        self._lock = threading.Lock()

    def follow(self, events: Iterator[EngineEvent], prompt_tokens: int, new_tokens: int) -> Iterator[EngineEvent]:
        """The same events. From the first that is asked for, until they end or are given up, the request counts.

        Args:
            new_tokens: that the answer may get.
        """
        request = _Request(prompt_tokens, prompt_tokens, new_tokens)
        with self._lock:
            self._requests.add(request)
        try:
            for event in events:
                if isinstance(event, Prefilled):
                    request.unread = event.total - event.done
                elif isinstance(event, Token):
                    # At least one: engines hold text back until it is certain, so this errs on the side of more to do.
                    request.unwritten = max(request.unwritten - 1, 0)
                yield event
        finally:
            if close := getattr(events, "close", None):
                close()  # now, and not when it is collected: what it works on may be closed next
            with self._lock:
                self._requests.discard(request)

    def load(self) -> Load:
        """What they still are to get."""
        with self._lock:
            requests = tuple(self._requests)
        unread = [request.unread for request in requests if request.unread]
        return Load(
            waiting=len(unread),
            running=len(requests) - len(unread),
            unread_tokens=sum(unread),
            prompt_tokens=sum(request.prompt for request in requests),
            unwritten_tokens=sum(request.unwritten for request in requests),
            in_turn=self._in_turn,
        )


_SHARED: weakref.WeakValueDictionary[str, InFlight] = weakref.WeakValueDictionary()
_SHARING = threading.Lock()


def shared(name: str) -> InFlight:
    """The requests of this process to one server, whichever engine makes them.

    Args:
        name: of the server.
    """
    with _SHARING:
        found = _SHARED.get(name)
        if found is None:
            found = _SHARED[name] = InFlight(in_turn=False)
        return found
