"""How much pieces of code help to foretell a question, and where code surprises (LongCodeZip, arXiv 2510.00446)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from turnout.compression.code_blocks import Chars
from turnout.contracts import Surprises
from turnout.sentences import lines

LONGEST = 2000
"""Tokens of code that are read at once; of what is longer the most helpful piece counts."""

STEEPEST = 50.0
"""Nats a token above which surprises are not told apart; their exponentials stay finite."""


class Foretelling:
    """What an engine says of code and one question.

    Args:
        count: tokens of a text.
    """

    def __init__(self, engine: Surprises, count: Callable[[str], int], question: str) -> None:
        self._engine = engine
        self._count = count
        self._question = question
        # Half of the window, because tokens may be counted for another model than the one that reads here.
        self._longest = min(LONGEST, max((engine.model.window - count(question)) // 2, 1))

    def gains(self, texts: Sequence[str]) -> list[float]:
        """Of each text, how much less surprising the question is after it, in nats a token; below 0 where it is more.

        Raises:
            EngineError: the question is over the window.
        """
        if not texts:
            return []
        pieces = [self._pieces(text) for text in texts]
        given = ["", *(f"{piece}\n\n" for each in pieces for piece in each)]
        alone, *after = self._engine.surprise(given, self._question)
        surprises = iter(after)
        return [max(alone - next(surprises) for _ in each) for each in pieces]

    def perplexities(self, text: str, spans: Sequence[Chars]) -> list[float]:
        """Of each line of a text, after all before it that is read at once."""
        found: list[float] = []
        begin = 0
        for few in self._runs(text, spans):
            end = few[-1][1]
            read = self._engine.line_surprises(text[begin:end], [(a - begin, b - begin) for a, b in few])
            found += (math.exp(min(surprise, STEEPEST)) for surprise in read)
            begin = end
        return found

    def _pieces(self, text: str) -> list[str]:
        if self._count(text) <= self._longest:
            return [text]
        return [text[few[0][0] : few[-1][1]] for few in self._runs(text, lines(text))]

    def _runs(self, text: str, spans: Iterable[Chars]) -> list[list[Chars]]:
        """Neighbours that are read at once."""
        found: list[list[Chars]] = []
        tokens = 0
        for start, end in spans:
            size = self._count(text[start:end])
            if not found or tokens + size > self._longest:
                found.append([])
                tokens = 0
            found[-1].append((start, end))
            tokens += size
        return found
