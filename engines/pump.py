"""Runs one asynchronous stream in a thread of its own, so that waiting for it can be given up at once."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar

from turnout.engines.reader import handed, polled

Item = TypeVar("Item")

CLOSE_TIMEOUT_S = 2.0


class Pump(Generic[Item]):
    """Iterate it, or leave it with `close()`, which cancels the stream and waits until its connection is closed.

    Args:
        source: makes the stream; runs inside the thread.
    """

    def __init__(self, source: Callable[[], AsyncIterator[Item]]) -> None:
        self._source = source
        self._items: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="turnout-remote", daemon=True)
        self._task: asyncio.Task[None] | None = None

    def poll(self) -> Iterator[Item | None]:
        """The items as they come, and None each time that nothing came for a moment. Raises what the stream raised."""
        self._thread.start()
        yield from polled(self._items)

    def close(self) -> None:
        """Cancels what still runs."""
        if self._thread.ident is not None:
            # The loop is closed here and not by the thread, so that this call is safe whenever the stream ends.
            self._loop.call_soon_threadsafe(self._cancel)
            self._thread.join(timeout=CLOSE_TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._drain())
        try:
            self._loop.run_until_complete(self._task)
        except BaseException as error:  # the source's own, or that of `close`, after which nobody reads
            self._items.put((None, handed(error)))
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    async def _drain(self) -> None:
        try:
            async for item in self._source():
                self._items.put((item, None))
            self._items.put((None, None))
        except Exception as error:  # handed to the thread that reads
            self._items.put((None, error))
