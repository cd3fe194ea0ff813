"""Work of a coroutine that is done in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

_Made = TypeVar("_Made")


async def in_thread(work: Callable[[Callable[[], bool]], _Made]) -> _Made:
    """What work gives that is done in a thread of its own, where waiting for a turn keeps nobody else from working.

    Args:
        work: takes a `stopped`. It says True when the task is cancelled, which then waits for the end of the work.
    """
    gone = threading.Event()
    made: concurrent.futures.Future[_Made] = concurrent.futures.Future()

    def run() -> None:
        try:
            made.set_result(work(gone.is_set))
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=run, name="turnout", daemon=True).start()
    waiting = asyncio.wrap_future(made)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        gone.set()
        await asyncio.wait([waiting])
        waiting.exception()  # looked at, so that nobody warns of it: the task that it is for is gone
        raise
