"""A long context read in pieces, each alone, of which the one that answers most surely is answered from.

Readers that are small lose an answer among other text that they find at once where it stands by itself. What such a
reader is trained to say where a text does not answer tells how sure it is: the piece is taken after which that refusal
is least likely, as readers of single passages have always been ranked by their "no answer" score (Clark and Gardner
2018, arXiv 1710.10723, section 3). Facts that stand in two pieces are never put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from math import ceil

from turnout.engines.answering import Alone, Readable, Steps
from turnout.engines.prompt import Excerpt, numbering
from turnout.engines.speculative.plan import Counts
from turnout.types import Context

PIECE_TOKENS = 300
"""Of text in a piece: a segment of retrieval, and about what readers are trained on."""


def excerpts(context: Context, count: Callable[[str], int], most: int = PIECE_TOKENS) -> list[Excerpt]:
    """A context in pieces of whole sentences, with the numbers that the sentences have in the whole. None of a context
    without text.

    Args:
        count: tokens of a text.
        most: tokens of a piece, give or take half a sentence.
    """
    several = len({part.span.document_id for part in context.parts}) > 1
    found = []
    for part, text, starts in numbering(context.parts):
        sizes = [count(text[begin:end]) for begin, end in pairwise([*starts, len(text)])]
        for start, end in _stretches(sizes, most):
            first, last = starts[start], starts[end] if end < len(starts) else len(text)
            title = part.title or "untitled" if several else None
            piece = replace(part, text=text[first:last].strip())
            found.append(Excerpt((piece,), context.question, context.history, context.task, title))
    return found


def _stretches(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Neighbours [start, end) that are alike in size, of about `most` together at most."""
    total = sum(sizes)
    share = total / max(ceil(total / most), 1)
    start, before, limit = 0, 0.0, share
    for at, size in enumerate(sizes):
        if at > start and before + size / 2 > limit:
            yield start, at
            start, limit = at, limit + share
        before += size
    if sizes:
        yield start, len(sizes)


class Apart:
    """Reads several prompts one after the other, and writes the answer to one of them.

    Args:
        authors: who reads and would answer each, at least one.
        refusal: the token that a refusal begins with.
    """

    def __init__(self, authors: Sequence[Alone], refusal: int) -> None:
        self._authors, self._refusal = authors, refusal
        self.to_read = self.prompt_tokens = sum(author.prompt_tokens for author in authors)
        self._current = authors[0]
        self._elsewhere = 0
        self._is_read = False
        self._doubt: float | None = None

    @property
    def counts(self) -> Counts:
        """See `Author.counts`."""
        return self._current.counts

    @property
    def reused(self) -> int:
        return sum(author.reused for author in self._authors)

    @property
    def length(self) -> int:
        """What was read of the other prompts counts too: it is kept for later while there is room."""
        return self._elsewhere + self._current.length

    @property
    def prompt(self) -> tuple[Readable, list[int]]:
        """The one that is being read."""
        return self._current.prompt

    def begin(self) -> None:
        """See `Author.begin`; of the first prompt, and of the others when it is their turn."""
        self._current.begin()

    def reading(self) -> Steps:
        """See `Author.reading`."""
        surest, least = self._current, 2.0
        for author in self._authors:
            if author is not self._authors[0]:
                author.begin()
                self._elsewhere, self._current = self._elsewhere + self._current.prompt_tokens, author
            yield from author.reading()
            doubt = author.probability(self._refusal)
            beaten = author if doubt >= least else surest
            if doubt < least:
                surest, least = author, doubt
            if beaten is not surest:
                beaten.close()
        self._current, self._elsewhere = surest, self.to_read - surest.prompt_tokens
        self._is_read, self._doubt = True, least

    def tokens(self) -> Steps:
        """See `Author.tokens`."""
        if not self._is_read:
            raise ValueError("a prompt is read before its answer is written")
        yield from self._current.tokens()

    def doubt(self, refusal: int) -> float | None:
        """See `Author.doubt`; that of the prompt that is answered."""
        return self._doubt

    def close(self) -> None:
        """See `Author.close`."""
        with ExitStack() as stack:
            for author in self._authors:
                stack.callback(author.close)
