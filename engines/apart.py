"""A long context read in pieces, each alone, of which the one that answers most surely is answered from.

Readers that are small lose an answer among other text that they find at once where it stands by itself. What such a
reader is trained to say where a text does not answer tells how sure it is: the piece is taken after which that refusal
is least likely, as readers of single passages have always been ranked by their "no answer" score (Clark and Gardner
2018, arXiv 1710.10723, section 3). Facts that stand in two pieces are never put together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil

from turnout.engines.answering import Alone
from turnout.engines.prompt import Excerpt, numbering
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
    """Reads several prompts and writes the answer to one of them.

    Args:
        prompts: token ids of each, at least one.
        begin: makes the author of a prompt, with what gives back what it holds.
        refusal: the token that a refusal begins with.
    """

    def __init__(
        self,
        prompts: Sequence[list[int]],
        begin: Callable[[list[int]], tuple[Alone, Callable[[], None]]],
        refusal: int,
    ) -> None:
        self._prompts, self._begin, self._refusal = prompts, begin, refusal
        self.to_read = self.prompt_tokens = sum(map(len, prompts))
        self._surest: Alone | None = None
        self.reused = 0

    @property
    def length(self) -> int:
        return self._surest.length if self._surest else 0

    def reading(self) -> Iterator[int]:
        """See `Author.reading`."""
        least, before, give_back = 2.0, 0, _nothing
        for ids in self._prompts:
            author, close = self._begin(ids)
            for read in author.reading():
                yield before + read
            before += len(ids)
            self.reused += author.reused
            doubt = author.probability(self._refusal)
            if doubt < least:
                give_back()
                least, self._surest, give_back = doubt, author, close
            else:
                close()

    def tokens(self) -> Generator[int]:
        """See `Author.tokens`."""
        if self._surest is None:
            raise ValueError("a prompt is read before its answer is written")
        yield from self._surest.tokens()


def _nothing() -> None:
    """What there is to give back of nothing."""
