"""Who reads the prompt of an answer and picks its tokens, and what they ask of the model for that."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from turnout.engines.loading import Sequence as Unpaged
from turnout.engines.speculative.plan import Counts
from turnout.engines.writing import Writing

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.sequence import KvSequence

Readable: TypeAlias = "KvSequence | Unpaged"


@dataclass(slots=True)
class Ask:
    """Tokens that the model is to read next, so that an author can go on with what they foretell.

    Attributes:
        sequence: that reads them.
        ids: not yet read. Of a prompt they may be read in several steps, which take them away here.
        rows: how many of the last ones foretell something: 1, or all of a few.
        is_prompt: read them as a prompt is read.
    """

    sequence: Readable
    ids: Sequence[int]
    rows: int = 1
    is_prompt: bool = False


Steps: TypeAlias = "Generator[int | Ask | None, torch.Tensor | None, None]"
"""What an author does, step by step. It yields an `Ask` to be sent the logits [rows, vocabulary]; None before steps of
its own, which it takes when it is asked to go on; and numbers."""


class Author(Protocol):
    """Who reads the prompt of an answer and picks its tokens."""

    @property
    def counts(self) -> Counts:
        """Of what was proposed."""

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

    @property
    def prompt(self) -> tuple[Readable, list[int]]:
        """What reads the prompt, and its ids."""

    def begin(self) -> None:
        """Takes the pages for prompt and answer.

        Raises:
            MemoryLimitError: they are not to be had; nothing is changed.
        """

    def reading(self) -> Steps:
        """Reads; the numbers are tokens read so far, where it takes steps of its own."""

    def tokens(self) -> Steps:
        """The numbers are the answer's tokens, without an end: it goes on once the last one is written, and ends only
        where it saw that the caller gave up. Closed, it holds nothing that was not written."""

    def doubt(self, refusal: int) -> float | None:
        """The probability that its answer begins with a token, once the prompt is read; None before."""

    def close(self) -> None:
        """Gives back what it holds; safe to call twice."""


class Alone:
    """Writes token by token with one sequence, which is empty."""

    def __init__(self, sequence: Readable, ids: list[int], writing: Writing) -> None:
        self._sequence, self._ids, self._writing = sequence, ids, writing
        self._foretold: torch.Tensor | None = None
        self.to_read = self.prompt_tokens = len(ids)
        self.counts = Counts()

    @property
    def reused(self) -> int:
        return self._sequence.reused

    @property
    def length(self) -> int:
        return self._sequence.length

    @property
    def prompt(self) -> tuple[Readable, list[int]]:
        return self._sequence, self._ids

    def begin(self) -> None:
        """See `Author.begin`."""
        self._sequence.begin(self._ids, more=self._writing.most)

    def reading(self) -> Steps:
        """See `Author.reading`."""
        self._foretold = yield Ask(self._sequence, self._ids[self._sequence.length :], is_prompt=True)
        self._sequence.publish()

    def tokens(self) -> Steps:
        """See `Author.tokens`."""
        token = self._picked_first()
        while True:
            yield token
            token = self._writing.pick(foretold((yield Ask(self._sequence, [token])))[0])

    def close(self) -> None:
        """See `Author.close`."""
        self._sequence.close()

    def probability(self, token: int) -> float:
        """That a token follows the prompt, once it is read."""
        return float(foretold(self._foretold)[0].float().softmax(-1)[token])

    def doubt(self, refusal: int) -> float | None:
        """See `Author.doubt`."""
        return None if self._foretold is None else self.probability(refusal)

    def _picked_first(self) -> int:
        return self._writing.pick(foretold(self._foretold)[0])


def foretold(rows: torch.Tensor | None) -> torch.Tensor:
    """The answer to an `Ask`."""
    if rows is None:
        raise ValueError("an author went on without what it asked for")
    return rows
