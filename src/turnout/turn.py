"""Whose turn it is: a `Turnout` works on one question at a time, and waits can be given up. Where its engine answers
several at once, a turn ends when the answer is begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from turnout.errors import Cancelled, ConfigurationError, EngineTimeoutError

CLOSE_WAIT_S = 10.0


class Taken:
    """A turn that was taken. Called, it says whether its holder is to stop."""

    def __init__(self, gave_up: Callable[[], bool], take: Callable[[], None], let_go: Callable[[], None]) -> None:
        self._gave_up, self._take, self._let_go = gave_up, take, let_go
        self._is_held = True

    def __call__(self) -> bool:
        return self._gave_up()

    def let_go(self) -> None:
        """The next one may have its turn; what its holder goes on with is still waited for. Safe to call twice."""
        if self._is_held:
            self._is_held = False
            self._let_go()

    def take_again(self) -> None:
        """Waits for the turn anew, where it was let go. How long is for the holder to see afterwards.

        Raises:
            Cancelled: its holder is to stop.
        """
        if not self._is_held:
            self._take()
            self._is_held = True


class Turn:
    """A lock that knows who holds it and can tell the holder to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._closing = threading.Event()
        self._idle = threading.Condition()
        self._going: list[int] = []
        self._asking = 0
        self._spare: int | None = None
        self._last = time.monotonic()

    @contextmanager
    def taken(self, stopped: Callable[[], bool] | None = None, most_s: float | None = None) -> Iterator[Taken]:
        """Waits for the turn; gives what is also true while closing.

        Args:
            most_s: seconds of waiting after which an answer would come too late.

        Raises:
            Cancelled: `stopped` said so before the turn came.
            EngineTimeoutError: the turn did not come in `most_s`.
            ConfigurationError: this very thread is in the middle of another answer, so the turn would never come.
        """
        with self.asked():
            yield from self._taken(stopped, most_s)

    def _taken(self, stopped: Callable[[], bool] | None, most_s: float | None) -> Iterator[Taken]:
        begin = time.monotonic()

        def gave_up() -> bool:
            return self._closing.is_set() or (stopped is not None and stopped())

        def take(most_s: float | None = None) -> None:
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

        take(most_s)
        here = threading.get_ident()
        with self._idle:
            self._going.append(here)
        held = Taken(gave_up, take, self._let_go)
        try:
            yield held
        finally:
            held.let_go()
            with self._idle:
                self._going.remove(here)
                self._idle.notify_all()

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While a question is here, waits or is answered, nothing is done that nobody waits for."""
        with self._idle:
            self._asking += 1
        try:
            yield
        finally:
            with self._idle:
                self._asking -= 1
                self._last = time.monotonic()

    def quiet_s(self) -> float:
        """Seconds since the last question was answered; 0 while one waits or is answered."""
        with self._idle:
            return 0.0 if self._asking else time.monotonic() - self._last

    @contextmanager
    def spare(self) -> Iterator[Callable[[], bool] | None]:
        """The turn where nobody else wants it, for work that nobody waits for; None where somebody does. What it gives
        is true as soon as somebody wants the turn, or it closes."""
        if not self._lock.acquire(blocking=False):
            yield None
            return
        self._owner = self._spare = threading.get_ident()
        try:
            yield self._is_wanted
        finally:
            self._spare = None
            self._let_go()

    def make_way(self) -> None:
        """Called between the steps of any work: ends what has only a spare turn.

        Raises:
            Cancelled: this thread has one, and somebody wants the turn.
        """
        if self._spare == threading.get_ident() and self._is_wanted():
            raise Cancelled("made way for a question")

    def _is_wanted(self) -> bool:
        return self._closing.is_set() or self._asking > 0

    def _let_go(self) -> None:
        self._owner = None
        self._lock.release()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Tells running answers to stop and waits for them, though not for ever: a reader may be gone."""
        self._closing.set()
        here = threading.get_ident()
        got = self._owner != here and self._lock.acquire(timeout=CLOSE_WAIT_S)
        try:
            if got:
                with self._idle:
                    self._idle.wait_for(lambda: all(each == here for each in self._going), CLOSE_WAIT_S)
            yield
        finally:
            if got:
                self._lock.release()
            self._closing.clear()
