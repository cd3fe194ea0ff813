"""Work that nobody waits for, done while nobody asks anything: it begins after a quiet while and makes way at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from turnout.errors import Cancelled
from turnout.turn import Turn

QUIET_S = 3.0
"""Seconds without a question before such work begins: a loop that asks one question after the other is not slowed."""

POLL_S = 0.25

MOST = 8
"""Pieces of work that may wait, each with its documents; the oldest ones are dropped."""

TRIES = 3
"""How often a piece of work is begun that had to make way."""

Work = Callable[[Callable[[], bool]], None]
"""Is given a `stopped`."""


class Background:
    """Does pieces of work in a thread of its own, one at a time, in the turn of a `Turnout` that nobody else wants.

    Attributes:
        failed: what the last error said; "" without one.
    """

    def __init__(self, turn: Turn, quiet_s: float = QUIET_S) -> None:
        self.failed = ""
        self.quiet_s = quiet_s
        self._turn = turn
        self._waiting: deque[tuple[Work, int]] = deque(maxlen=MOST)
        self._changed = threading.Condition()
        self._is_doing = False
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def offer(self, work: Work) -> None:
        """Puts a piece of work at the end of the line."""
        with self._changed:
            self._waiting.append((work, 1))
            if self._thread is None:
                # An event of its own: a thread that was closed stays so, whoever offers work meanwhile.
                self._closed = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._closed,), name="turnout regret", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def settled(self, timeout_s: float) -> bool:
        """Waits until nothing is left to do; False where that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_doing, timeout_s)

    def close(self) -> None:
        """Gives up what is going on, and what waits."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._waiting.clear()
            self._closed.set()
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self, closed: threading.Event) -> None:
        while not closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or closed.is_set())
            if self._turn.quiet_s() < self.quiet_s or not self._did(closed):
                closed.wait(POLL_S)

    def _did(self, closed: threading.Event) -> bool:
        """Whether there was a turn to do the first piece of work in."""
        with self._turn.spare() as is_wanted:
            with self._changed:
                if is_wanted is None or closed.is_set() or not self._waiting:
                    return False
                work, tries = self._waiting.popleft()
                self._is_doing = True
            again = False
            try:
                work(lambda: is_wanted() or closed.is_set())
            except Cancelled:
                again = tries < TRIES and not closed.is_set()
            except Exception as error:  # told to whoever asks, and the next piece of work is done all the same
                self.failed = str(error)
            finally:
                with self._changed:
                    self._is_doing = False
                    if again:
                        self._waiting.appendleft((work, tries + 1))
                    self._changed.notify_all()
        return True
