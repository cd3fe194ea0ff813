"""What tests of the scheduler share: holding an engine's thread, and looking at each of its steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty
from typing import Any

from turnout.engines.answering import Alone
from turnout.engines.local import LocalEngine
from turnout.engines.scheduler.answer import Answer
from turnout.types import Context, EngineEvent, GenerationParams


@contextmanager
def held(engine: LocalEngine) -> Iterator[None]:
    """What is asked of the engine meanwhile arrives together, after this."""
    go_on, is_held = threading.Event(), threading.Event()

    def hold() -> None:
        is_held.set()
        go_on.wait(30)

    engine._opened().owner.post(hold)
    assert is_held.wait(30)
    try:
        yield
    finally:
        go_on.set()


@contextmanager
def watched(engine: LocalEngine, after: Callable[[int], None]) -> Iterator[None]:
    """Calls `after` with the number of every step that was taken, in the engine's own thread."""
    owner: Any = engine._opened().owner
    plain, steps = owner.turn, 0

    def turn() -> bool:
        nonlocal steps
        steps += 1
        goes_on: bool = plain()
        after(steps)
        return goes_on

    owner.turn = turn
    try:
        yield
    finally:
        owner.turn = plain


def asked(engine: LocalEngine, context: Context, params: GenerationParams) -> Answer:
    """A request that is not handed in yet."""
    writing = engine._writing(params)
    sequence = engine.sequence(params.cache_namespace, adapted=engine.is_adapted(context))
    return engine._opened().answer(Alone(sequence, engine.encode(context), writing), writing)


def seen(answer: Answer) -> list[EngineEvent | Exception | None]:
    """What an answer has told so far."""
    found: list[EngineEvent | Exception | None] = []
    while True:
        try:
            found.append(answer.events.get_nowait())
        except Empty:
            return found


def at_once(work: list[Callable[[], Any]], seconds: float = 60) -> list[Any]:
    """What each of some work gives, or raises, in a thread of its own; all of them begin together."""
    found: list[Any] = [None] * len(work)
    ready = threading.Barrier(len(work))

    def do(place: int) -> None:
        ready.wait(seconds)
        try:
            found[place] = work[place]()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=do, args=(place,), daemon=True) for place in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads), "a request is stuck"
    return found
