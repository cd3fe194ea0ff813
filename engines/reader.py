"""Runs one blocking iterator in a thread of its own, so that waiting for it can be given up at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

from turnout.errors import EngineError

Item = TypeVar("Item")

POLL_S = 0.05


class ThreadReader(Generic[Item]):
    """As `Pump`, for streams that block: `close()` does not wait for one that is silent; it ends with its next item.

    Args:
        source: makes the stream; runs inside the thread.
    """

    def __init__(self, source: Callable[[], Iterator[Item]]) -> None:
        self._source = source
        self._items: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue()
        self._closed = threading.Event()

    def poll(self) -> Iterator[Item | None]:
        """The items as they come, and None each time that nothing came for a moment. Raises what the stream raised."""
        threading.Thread(target=self._run, name="turnout-model", daemon=True).start()
        yield from polled(self._items)

    def close(self) -> None:
        """Lets the stream end."""
        self._closed.set()

    def _run(self) -> None:
        try:
            items = self._source()
            for item in items:
                if self._closed.is_set():
                    break
                self._items.put((item, None))
            if close := getattr(items, "close", None):
                with suppress(RuntimeError):  # by a generator that goes on yielding
                    close()
            self._items.put((None, None))
        except BaseException as error:  # handed to the thread that reads, which would wait for ever
            self._items.put((None, handed(error)))


def polled(items: queue.Queue[tuple[Item | None, BaseException | None]]) -> Iterator[Item | None]:
    """What another thread puts in: items, and None each time that nothing came for a moment; it ends at a pair of
    nothing, and an error is raised."""
    while True:
        try:
            item, error = items.get(timeout=POLL_S)
        except queue.Empty:
            yield None
            continue
        if error is not None:
            raise error
        if item is None:
            return
        yield item


def handed(error: BaseException) -> Exception:
    """An error of a stream as its reader may raise it: what would end a thread or a task means the other one."""
    if isinstance(error, Exception):
        return error
    ours = EngineError(f"the stream of the model ended with {type(error).__name__}", hint="ask again", retryable=True)
    ours.__cause__ = error
    return ours
