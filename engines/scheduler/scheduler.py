"""Several requests to one model at once: continuous batching, after Orca (OSDI 2022), with prompts read in pieces
beside it (Sarathi-Serve, arXiv 2403.02310).

In each step every answer that is being written gets its next token, and what is left of the step's budget reads on in
prompts. Those are two passes through the model and not one: answers may be written by weights in int8 or in a captured
graph, and what is kept of a prompt must not depend on who was answered meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING

from turnout.contracts import Stopper
from turnout.engines.answering import Ask
from turnout.engines.paged.sequence import Fragment, KvSequence
from turnout.engines.scheduler.answer import Answer
from turnout.engines.scheduler.line import Line
from turnout.engines.scheduler.owner import Owner
from turnout.engines.scheduler.shares import AT_ONCE, Prompt, Step
from turnout.errors import EngineBusyError, EngineError
from turnout.types import EngineEvent, Finished

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.session import Session

WAITING = 256
"""Requests that may wait for their turn."""

POLL_S = 0.05
"""How often a caller is asked whether it has given up."""

FIRST_GUESS_S = 1.0
"""When to try again, before any request was answered."""


class Scheduler:
    """Of one loaded model.

    Args:
        name: of the model, for messages.
        owner: whose turns the steps are.
        session: None where keys and values do not lie in pages; then each request is read by itself.
        step: what is read at once.
        most_waiting: requests that wait; one more is refused.

    Attributes:
        steps: that were taken.
    """

    def __init__(
        self, name: str, owner: Owner, session: Session | None, step: Step, most_waiting: int = WAITING
    ) -> None:
        self.steps = 0
        self._name, self._owner, self._session, self._step = name, owner, session, step
        self._most_waiting = most_waiting
        self._accepting = threading.Lock()
        self._accepted: set[Answer] = set()
        self._line = Line(session)
        self._running: list[Answer] = []
        self._place_s = FIRST_GUESS_S
        self._is_closed = False
        owner.turn = self.turn

    # --- in the callers' threads -------------------------------------------------------------------------------------

    @property
    def at_once(self) -> int:
        """Requests that are being read or written."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that were accepted and not begun."""
        return len(self._accepted)

    def submit(self, answer: Answer) -> None:
        """Accepts a request.

        Raises:
            EngineBusyError: as many wait as may wait.
        """
        with self._accepting:
            if len(self._accepted) >= self._most_waiting:
                raise EngineBusyError(self._name, len(self._accepted), self._most_waiting, self._place_s)
            self._accepted.add(answer)
        if not self._owner.post(partial(self._arrived, answer)):
            self._arrived(answer)

    def cancel(self, answer: Answer) -> None:
        """The request is given up; it ends before the next step. What is asked of the owner from now on sees it ended.
        Never waits, so that a finaliser may call it too."""
        answer.is_cancelled = True
        self._owner.post(self._drop)

    def events(self, answer: Answer, stopped: Stopper = lambda: False) -> Iterator[EngineEvent]:
        """What becomes of a request that was submitted; left before its end, it is cancelled.

        Args:
            stopped: asked between events, and while there are none.
        """
        is_over = False
        try:
            while not is_over:
                if not answer.is_cancelled and stopped():
                    self.cancel(answer)
                try:
                    event = answer.events.get(timeout=POLL_S)
                except Empty:
                    continue
                if event is None or isinstance(event, Exception):
                    is_over = True
                    if event is not None:
                        raise event
                elif isinstance(event, Finished):
                    yield replace(event, reason="cancelled") if answer.is_cancelled else event
                elif not answer.is_cancelled:
                    yield event
        finally:
            if not is_over:
                self.cancel(answer)

    @contextmanager
    def visiting(self, tokens: int, go_on: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Lets a caller read for itself, with sequences of its own, beside the requests. It waits until there is room
        for so many tokens beside those that run, and nobody begins before it; later ones wait for it as for one of
        them.

        Args:
            go_on: called while it waits; raises where the caller gave up.
        """
        visitor = object()
        try:
            while not self._owner.run(lambda: self._line.let_in(visitor, tokens, self._running)):
                go_on()
                time.sleep(POLL_S)
            yield
        finally:
            self._owner.run(partial(self._line.let_out, visitor))

    def close(self) -> None:
        """Ends every request with an error."""
        self._owner.run(self._end_all)

    # --- in the owner's thread ---------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """One step; False where there is nothing to do."""
        try:
            self._drop()
            for answer in self._line.begin(self._running, AT_ONCE):
                self._accepted.discard(answer)
                self._guarded(answer, answer.go_on)
            self.steps += bool(self._running)
            self._write()
            self._read()
            self._take_turns()
            self._sweep()
        except BaseException as error:  # a mistake of ours: nobody may wait for ever for it
            self._fail_all(f"a step of {self._name} failed: {type(error).__name__}: {error}", error)
        return bool(self._running) or self._line.can_begin

    def _arrived(self, answer: Answer) -> None:
        if self._is_closed:
            self._accepted.discard(answer)
            answer.fail(self._closed())
        else:
            self._line.waiting.append(answer)

    def _drop(self) -> None:
        """Ends those that were given up, and those that have waited too long."""
        for answer in [*self._running, *self._line.waiting]:
            if answer.is_cancelled and not answer.is_over:
                self._guarded(answer, partial(answer.finish, "cancelled"))
        for answer in self._line.waiting:
            if not answer.is_over:
                self._guarded(answer, partial(answer.meter.check, more=False))
        self._sweep()

    def _write(self) -> None:
        """The next token of every answer that is being written, in one pass."""
        self._feed([(answer, answer.rows) for answer in self._running if answer.rows])

    def _read(self) -> None:
        """Some of every prompt whose turn it is, in one pass."""
        readers = [(answer, answer.ask) for answer in self._running if answer.ask is not None and answer.ask.is_prompt]
        budget = self._step.budget(len(self._running)) - sum(answer.rows for answer in self._running)
        shares = self._step.shares([_prompt(ask) for _, ask in readers], budget)
        self._feed([(answer, tokens) for (answer, _), tokens in zip(readers, shares, strict=True) if tokens])

    def _take_turns(self) -> None:
        """One turn of every author that takes its own steps."""
        for answer in self._running:
            if answer.ask is None and not answer.is_over:
                self._guarded(answer, answer.go_on)

    def _feed(self, parts: Sequence[tuple[Answer, int]]) -> None:
        """Reads so many tokens of what each of some asks for. If that fails, each is tried alone: an error is that of
        the request that it comes from."""
        if len(parts) > 1 and self._session is None:
            for part in parts:
                self._feed([part])
            return
        if not parts:
            return
        try:
            found = self._stepped(parts)
        except Exception as error:
            if len(parts) == 1:
                parts[0][0].fail(error)
            for part in parts if len(parts) > 1 else ():
                self._feed([part])
            return
        for (answer, tokens), rows in zip(parts, found, strict=True):
            self._guarded(answer, partial(answer.has_read, tokens, rows))

    def _stepped(self, parts: Sequence[tuple[Answer, int]]) -> Sequence[torch.Tensor]:
        """The logits that each wanted, [rows, vocabulary]; none after a part of a prompt."""
        import torch

        asks = [answer.ask for answer, _ in parts if answer.ask is not None]
        feeds: list[tuple[KvSequence, Sequence[Fragment], Sequence[int]]] = []
        for ask, (_, tokens) in zip(asks, parts, strict=True):
            sequence, rows = ask.sequence, ask.rows if tokens == len(ask.ids) else 0
            if not isinstance(sequence, KvSequence):
                return [sequence.append(list(ask.ids[:tokens]))]
            feeds.append((sequence, [ask.ids[:tokens]], range(tokens - rows, tokens)))
        if self._session is None:
            raise TypeError("a sequence in pages without a session")
        found = self._session.step(feeds, is_prompt=asks[0].is_prompt)
        return torch.split(found, [len(wanted) for _, _, wanted in feeds])

    def _guarded(self, answer: Answer, work: Callable[[], None]) -> None:
        """What goes wrong in one request ends that one alone."""
        try:
            work()
        except Exception as error:
            answer.fail(error)

    def _sweep(self) -> None:
        """Lets go of those that are over."""
        ended = [answer for answer in self._running if answer.is_over]
        for answer in ended:
            self._place_s = (self._place_s + answer.running_s / len(self._running)) / 2
        self._running = [answer for answer in self._running if not answer.is_over]
        self._accepted.difference_update(self._line.sweep(is_freed=bool(ended)))

    def _fail_all(self, message: str, cause: BaseException | None = None) -> None:
        for answer in [*self._running, *self._line.waiting]:
            if not answer.is_over:
                error = EngineError(message, hint="ask again", retryable=True)
                error.__cause__ = cause
                answer.fail(error)
        self._sweep()

    def _end_all(self) -> None:
        self._is_closed = True
        self._fail_all(f"{self._name} was closed before the answer was complete")

    def _closed(self) -> EngineError:
        return EngineError(f"{self._name} was closed before the answer was begun", hint="ask again", retryable=True)


def _prompt(ask: Ask) -> Prompt:
    together = ask.sequence.read_together if isinstance(ask.sequence, KvSequence) else 1
    return Prompt(len(ask.ids), ask.sequence.length, together)
