"""One request on a sequence: read the prompt, write the answer, say what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def answered(
    sequence: Readable,
    ids: list[int],
    writing: Writing,
    meter: Meter,
    stopped: Stopper,
    cache_bytes: Callable[[int], int],
) -> Iterator[EngineEvent]:
    """The events of an answer.

    Args:
        ids: the prompt.
        stopped: asked between steps.
        cache_bytes: what keys and values of so many tokens take, if they lie in pages.

    Raises:
        EngineTimeoutError: the meter's time is over before the first token; later it ends the answer.
    """
    steps = sequence.reading(ids, more=writing.most)
    foretold = None
    while not (cancelled := stopped()):
        read, foretold = next(steps, (0, foretold))
        if not read:
            break
        meter.sample()
        yield Prefilled(read, len(ids))
        meter.check()
    while not cancelled and foretold is not None and writing.reason is None:
        token, shown = writing.next(foretold)
        meter.token()
        if shown:
            yield Token(shown)
        if writing.reason is None and meter.is_over:
            writing.reason = "timeout"
        if writing.reason is None and not (cancelled := stopped()):
            foretold = sequence.append([token])[0]
    if not cancelled and (rest := writing.rest()):
        yield Token(rest)
    meter.sample()
    reason: FinishReason = "cancelled" if cancelled else writing.reason or "length"
    yield meter.finished(reason, len(ids), writing.tokens, sequence.reused, cache_bytes(sequence.length))
