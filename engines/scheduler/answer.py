"""One request to an engine while it waits, is read and is written: its author's steps become its caller's events."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

from turnout.engines.answering import Ask, Author, Steps
from turnout.engines.meter import Meter
from turnout.engines.writing import Writing
from turnout.types import EngineEvent, FinishReason, Prefilled, Token

if TYPE_CHECKING:
    import torch


class Answer:
    """Belongs to the owner's thread once it is handed in, but for `events` and `is_cancelled`.

    Args:
        meter: of the request, from its acceptance.
        fits: raises MemoryLimitError where there is no memory for it beside what others will still take, in bytes.
        cache_bytes: what keys and values of so many tokens take, if they lie in pages.

    Attributes:
        events: what its caller reads. The last is an error; or `Finished`, and None once all is given back.
        is_cancelled: its caller has given up.
        ask: what its author wants read next; None for a step of the author's own.
        follows: the request that reads what it begins with too, and up to which token.
        passed: how many requests were begun before it that came later.
    """

    def __init__(
        self,
        author: Author,
        writing: Writing,
        meter: Meter,
        fits: Callable[[int], None] = lambda promised: None,
        cache_bytes: Callable[[int], int] = lambda tokens: 0,
    ) -> None:
        self.author, self.meter = author, meter
        self.events: SimpleQueue[EngineEvent | Exception | None] = SimpleQueue()
        self.is_cancelled = self.is_over = False
        self.ask: Ask | None = None
        self.follows: tuple[Answer, int] | None = None
        self.passed = 0
        self._begun_s: float | None = None
        self._writing, self._fits, self._cache_bytes = writing, fits, cache_bytes
        self._steps: Steps | None = None
        self._is_writing = False

    @property
    def most_tokens(self) -> int:
        """Whose keys and values it may have."""
        return self.author.to_read + self._writing.most

    @property
    def promised_bytes(self) -> int:
        """What it will still take for keys and values."""
        return max(self._cache_bytes(self.most_tokens) - self._cache_bytes(self.author.length), 0)

    @property
    def running_s(self) -> float:
        """Seconds since it was begun."""
        return 0.0 if self._begun_s is None else time.monotonic() - self._begun_s

    @property
    def is_reading(self) -> bool:
        """Whether its prompt is not read to the end."""
        return not self._is_writing and not self.is_over

    @property
    def rows(self) -> int:
        """Tokens that it wants read in the next step, of an answer that is being written."""
        return len(self.ask.ids) if self.ask is not None and not self.ask.is_prompt else 0

    def begin(self, promised: int) -> None:
        """Takes what it needs; it may go on then.

        Raises:
            MemoryLimitError: there is no room now; nothing is changed.
        """
        self._fits(promised)
        self.author.begin()
        self.meter.begin()
        self._begun_s = time.monotonic()
        self._steps = self.author.reading()

    def has_read(self, tokens: int, rows: torch.Tensor) -> None:
        """So many tokens of what it asked for were read.

        Raises:
            EngineTimeoutError: the time is over before the first token.
        """
        if self.ask is None:
            raise ValueError("nothing was asked for")
        if self.ask.is_prompt:
            self.ask.ids = self.ask.ids[tokens:]
            self._progress(self.author.length)
            if self.ask.ids:
                return
        self.go_on(rows)

    def go_on(self, rows: torch.Tensor | None = None) -> None:
        """Lets the author go on until it asks for something, takes a turn of its own, or the answer is over."""
        while self._steps is not None:
            try:
                item = self._steps.send(rows)
            except StopIteration:
                if self._is_writing:
                    self.finish("cancelled")
                else:
                    self._is_writing, self._steps = True, self.author.tokens()
                    if self._writing.reason is not None:
                        self.finish(self._writing.reason)
                rows = None
                continue
            rows = None
            if item is None or isinstance(item, Ask):
                self.ask = item
                return
            if not self._is_writing:
                self.ask = None
                self._progress(item)
                return
            self._write(item)

    def finish(self, reason: FinishReason) -> None:
        """The last event, after what was held back of the text, unless the caller gave up."""
        if reason != "cancelled" and (rest := self._writing.rest()):
            self.events.put(Token(rest))
        self.meter.sample()
        held = self._cache_bytes(self.author.length)
        last = self.meter.finished(reason, self.author.prompt_tokens, self._writing.tokens, self.author.reused, held)
        # First: what is kept on disk takes a while, and is not what the caller waits for.
        self.events.put(last)
        self.close()
        self.events.put(None)

    def fail(self, error: Exception) -> None:
        """The last event is an error."""
        try:
            self.close()
        except Exception as also:
            error.add_note(f"and closing it: {type(also).__name__}: {also}")
        self.events.put(error)

    def close(self) -> None:
        """Gives back what it holds."""
        self.is_over, self.ask = True, None
        steps, self._steps = self._steps, None
        try:
            if steps is not None:
                steps.close()
        finally:
            self.author.close()

    def _progress(self, read: int) -> None:
        self.meter.sample()
        self.events.put(Prefilled(read, self.author.to_read))
        self.meter.check(more=read < self.author.to_read)

    def _write(self, token: int) -> None:
        shown = self._writing.write(token)
        self.meter.token()
        if shown:
            self.events.put(Token(shown))
        if self._writing.reason is None and self.meter.is_over:
            self._writing.reason = "timeout"
        if self._writing.reason is not None:
            self.finish(self._writing.reason)
