"""Whose turn it is: a `Turnout` answers one question at a time, and waits can be given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from turnout.errors import Cancelled, ConfigurationError, EngineTimeoutError

CLOSE_WAIT_S = 10.0


class Turn:
    """A lock that knows who holds it and can tell the holder to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._closing = threading.Event()

    @contextmanager
    def taken(
        self, stopped: Callable[[], bool] | None = None, most_s: float | None = None
    ) -> Iterator[Callable[[], bool]]:
        """Waits for the turn; gives a `stopped` that is also true while closing.

        Args:
            most_s: seconds of waiting after which an answer would come too late.

        Raises:
            Cancelled: `stopped` said so before the turn came.
            EngineTimeoutError: the turn did not come in `most_s`.
            ConfigurationError: this very thread is in the middle of another answer, so the turn would never come.
        """
        begin = time.monotonic()

        def gave_up() -> bool:
            return self._closing.is_set() or (stopped is not None and stopped())

        while not self._lock.acquire(timeout=0.1):
            if self._owner == threading.get_ident():
                raise ConfigurationError(
                    "another answer of this Turnout is still being streamed in this thread",
                    hint="read it to its end, or close() its iterator, before the next question",
                )
            if gave_up():
                raise Cancelled("given up while another question was being answered")
            if most_s is not None and time.monotonic() - begin > most_s:
                raise EngineTimeoutError(
                    f"the limit of {most_s:g} s was over while other questions were being answered",
                    hint="ask again later, or allow more time",
                )
        self._owner = threading.get_ident()
        try:
            yield gave_up
        finally:
            self._owner = None
            self._lock.release()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Tells the running answer to stop and waits for it, though not for ever: its reader may be gone."""
        self._closing.set()
        got = self._owner != threading.get_ident() and self._lock.acquire(timeout=CLOSE_WAIT_S)
        try:
            yield
        finally:
            if got:
                self._lock.release()
            self._closing.clear()
