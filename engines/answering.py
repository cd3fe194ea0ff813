"""One request on a sequence: read the prompt, write the answer, say what it took."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from turnout.contracts import Stopper
from turnout.engines.meter import Meter
from turnout.engines.writing import Writing
from turnout.types import EngineEvent, FinishReason, Prefilled, Token

if TYPE_CHECKING:
    import torch


class Readable(Protocol):
    """An empty sequence."""

    @property
    def length(self) -> int:
        """Tokens that it has."""

    @property
    def reused(self) -> int:
        """Those of them that were not read again."""

    def reading(self, ids: list[int], /, *, more: int = 0) -> Iterator[tuple[int, torch.Tensor]]:
        """Reads a prompt in steps; yields the tokens read and the logits [vocabulary] after them."""

    def append(self, ids: list[int], /) -> torch.Tensor:
        """Reads tokens; returns the logits [1, vocabulary] after the last one."""


class Author(Protocol):
    """Who reads the prompt of an answer and picks its tokens."""

    @property
    def to_read(self) -> int:
        """Tokens that `reading` reads."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt that is answered."""

    @property
    def reused(self) -> int:
        """Those of them that were not read again."""

    @property
    def length(self) -> int:
        """Tokens whose keys and values it holds."""

    def reading(self) -> Iterator[int]:
        """Reads in steps; yields the tokens read so far."""

    def tokens(self) -> Generator[int]:
        """The answer's tokens, without an end: it goes on once the last one is written, and ends only where it saw that
        the caller gave up. Closed, it holds nothing that was not written."""


class Alone:
    """Writes token by token with one sequence, which is empty."""

    def __init__(self, sequence: Readable, ids: list[int], writing: Writing) -> None:
        self._sequence, self._ids, self._writing = sequence, ids, writing
        self._foretold: torch.Tensor | None = None
        self.to_read = self.prompt_tokens = len(ids)

    @property
    def reused(self) -> int:
        return self._sequence.reused

    @property
    def length(self) -> int:
        return self._sequence.length

    def reading(self) -> Iterator[int]:
        """See `Author.reading`."""
        for read, foretold in self._sequence.reading(self._ids, more=self._writing.most):
            self._foretold = foretold
            yield read

    def tokens(self) -> Generator[int]:
        """See `Author.tokens`."""
        token = self._picked_first()
        while True:
            yield token
            token = self._writing.pick(self._sequence.append([token])[0])

    def probability(self, token: int) -> float:
        """That a token follows the prompt, once it is read."""
        return float(self._after().float().softmax(-1)[token])

    def _picked_first(self) -> int:
        return self._writing.pick(self._after())

    def _after(self) -> torch.Tensor:
        if self._foretold is None:
            raise ValueError("a prompt is read before its answer is written")
        return self._foretold


def answered(
    author: Author, writing: Writing, meter: Meter, stopped: Stopper, cache_bytes: Callable[[int], int]
) -> Iterator[EngineEvent]:
    """The events of an answer.

    Args:
        stopped: asked between steps.
        cache_bytes: what keys and values of so many tokens take, if they lie in pages.

    Raises:
        EngineTimeoutError: the meter's time is over before the first token; later it ends the answer.
    """
    steps = author.reading()
    while not (cancelled := stopped()):
        read = next(steps, None)
        if read is None:
            break
        meter.sample()
        yield Prefilled(read, author.to_read)
        meter.check()
    with closing(author.tokens()) as tokens:
        while not cancelled and writing.reason is None:
            token = next(tokens, None)
            if token is None:
                cancelled = True
                break
            shown = writing.write(token)
            meter.token()
            if shown:
                yield Token(shown)
            if writing.reason is None and meter.is_over:
                writing.reason = "timeout"
            cancelled = writing.reason is None and stopped()
    if not cancelled and (rest := writing.rest()):
        yield Token(rest)
    meter.sample()
    reason: FinishReason = "cancelled" if cancelled else writing.reason or "length"
    held = cache_bytes(author.length)
    yield meter.finished(reason, author.prompt_tokens, writing.tokens, author.reused, held)
