"""The thread that a model belongs to. Others hand it work and wait, so that nothing of the model needs a lock."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial, wraps
from queue import SimpleQueue
from typing import Concatenate, ParamSpec, Protocol, TypeVar

Result = TypeVar("Result")
Options = ParamSpec("Options")

Inbox = SimpleQueue["tuple[Owner, Callable[[], None]] | None"]


class Owner:
    """Runs work in the order in which it comes, and takes turns in between while there are turns to take.

    The thread begins with the first work and ends with `close`, or once nobody has the owner any more: while it waits
    it holds nothing but its inbox, which is safe to put into from a finaliser too.

    Attributes:
        turn: one step of what is to be done besides; says whether there is more.
    """

    def __init__(self, name: str) -> None:
        self.turn: Callable[[], bool] = lambda: False
        self._inbox: Inbox = SimpleQueue()
        self._thread = threading.Thread(target=_serve, args=(self._inbox,), name=name, daemon=True)
        # Reentrant: a finaliser may post something while its thread is posting.
        self._lock = threading.RLock()
        self._is_closed = False
        weakref.finalize(self, self._inbox.put, None)

    @property
    def is_here(self) -> bool:
        """Whether the thread that asks is this one."""
        return self._thread.ident == threading.get_ident()

    def run(self, work: Callable[[], Result]) -> Result:
        """Does work in the thread, between two turns, and gives what it gives; at once where it is called from there.
        After `close` there is no such thread, and the caller's does it."""
        if self.is_here:
            return work()
        done: Future[Result] = Future()
        if not self.post(partial(_settle, done, work)):
            return work()
        return done.result()

    def post(self, work: Callable[[], None]) -> bool:
        """Lets the thread do work that raises nothing, without waiting for it; False after `close`."""
        with self._lock:
            if self._is_closed:
                return False
            self._inbox.put((self, work))
            if self._thread.ident is None:
                self._thread.start()
            return True

    def close(self) -> None:
        """Ends the thread after the work that it has; no turn is taken any more. Safe to call twice."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            if not was_closed:
                self._inbox.put(None)
        if self._thread.ident is not None and not self.is_here:
            self._thread.join()

    def _goes_on(self) -> bool:
        """Does the work that has come, then takes a turn; False where it may wait for more work."""
        for _ in range(self._inbox.qsize()):
            item = self._inbox.get()
            if item is None:
                self._inbox.put(None)
                return False
            item[1]()
        return self.turn()


def _serve(inbox: Inbox) -> None:
    while (item := inbox.get()) is not None:
        owner, work = item
        work()
        while owner._goes_on():
            pass
        del item, owner, work  # who else has the owner decides how long it lives


def _settle(done: Future[Result], work: Callable[[], Result]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # raised again where it is waited for
        done.set_exception(error)


class Owned(Protocol):
    """What belongs to an owner's thread, if it has one."""

    @property
    def owner(self) -> Owner | None: ...


Thing = TypeVar("Thing", bound=Owned)


def on_owner(
    method: Callable[Concatenate[Thing, Options], Result],
) -> Callable[Concatenate[Thing, Options], Result]:
    """A method that its object's owner runs, whichever thread calls it."""

    @wraps(method)
    def run(thing: Thing, /, *args: Options.args, **options: Options.kwargs) -> Result:
        if thing.owner is None:
            return method(thing, *args, **options)
        return thing.owner.run(partial(method, thing, *args, **options))

    return run
