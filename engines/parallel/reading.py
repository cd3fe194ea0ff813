"""Reads segments each by itself, and prompts over what is kept of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from turnout.engines.answering import Alone, Steps
from turnout.engines.paged.pages import PAGE
from turnout.engines.paged.parallel import Kept, ParallelPrompt, ParallelSequence
from turnout.engines.parallel.frame import around
from turnout.engines.parallel.kind import ParallelContext, ParallelKind
from turnout.engines.prompt import PromptFormat
from turnout.engines.tokenizer import ChatTokenizer
from turnout.engines.writing import Writing
from turnout.errors import EngineError
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.engines.paged.session import Session


def prompt_over(
    tokenizer: ChatTokenizer, context: ParallelContext, kind: ParallelKind, wording: PromptFormat
) -> ParallelPrompt:
    """The prompt of a context.

    Raises:
        EngineError: what is kept was made with something else, or is damaged.
    """
    if context.kind != kind:
        made = context.kind.fingerprint if context.kind else "nothing"
        raise EngineError(
            f"keys and values made with {made} can't be read with {kind.fingerprint}", hint="make them with this engine"
        )
    before, after = around(tokenizer, context, wording)
    segments = [_kept(name, value, kind) for name, value in context.segments if value]
    return ParallelPrompt(before, segments, after, context.temperature, context.scale)


def _kept(name: str, value: bytes, kind: ParallelKind) -> Kept:
    if len(value) % kind.token_bytes:
        raise EngineError(
            f"{len(value):,} bytes are no keys and values of {kind.token_bytes:,} a token", hint="make them again"
        )
    return Kept(len(value) // kind.token_bytes, value, f"{kind.fingerprint}/{name}".encode())


def room(before: Sequence[int], texts: Sequence[Sequence[int]], chunk: int) -> int:
    """Tokens whose keys and values there has to be room for while texts are read."""
    around = len(before) + PAGE
    return around + max((sum(len(ids) + around for ids in batch) for batch in _batches(texts, chunk)), default=0)


def read_apart(
    session: Session, before: Sequence[int], texts: Sequence[Sequence[int]], watch: Watch
) -> Iterator[bytes]:
    """The keys and values of each text, read after `before` alone, as `Kept.value`.

    Args:
        texts: token ids.

    Raises:
        MemoryLimitError: no room for them.
        Cancelled: the watch said so after a batch.
    """
    with ExitStack() as stack:
        start = session.parallel()
        stack.callback(start.close, keep=False)
        if before:
            start.prefill(before)
            watch.read(len(before))
        for batch in _batches(texts, session.chunk):
            yield from _read(session, start, batch)
            watch.read(sum(map(len, batch)))


def _read(session: Session, start: ParallelSequence, batch: Sequence[Sequence[int]]) -> list[bytes]:
    with ExitStack() as stack:
        sequences = [start.fork() for _ in batch]
        for sequence in sequences:
            stack.callback(sequence.close, keep=False)
        # One that is longer than a step is alone.
        for begin in range(0, max(map(len, batch)), session.chunk):
            feeds = [
                (sequence, [ids[begin : begin + session.chunk]], ())
                for sequence, ids in zip(sequences, batch, strict=True)
                if len(ids) > begin
            ]
            session.step(feeds, columns=[0], is_prompt=True)
        return [sequence.taken(start.length) for sequence in sequences]


def _batches(texts: Sequence[Sequence[int]], chunk: int) -> Iterator[list[Sequence[int]]]:
    """Those that are read in one step."""
    batch: list[Sequence[int]] = []
    for ids in texts:
        if batch and sum(map(len, batch)) + len(ids) > chunk:
            yield batch
            batch = []
        batch.append(ids)
    if batch:
        yield batch


class OverKept(Alone):
    """Puts kept segments in place, in steps of its own, and writes alone.

    Args:
        sequence: empty.
    """

    def __init__(self, sequence: ParallelSequence, given: ParallelPrompt, writing: Writing) -> None:
        super().__init__(sequence, given.ids, writing)
        self._reads, self._given = sequence, given

    def begin(self) -> None:
        """See `Author.begin`."""
        self._reads.begin_prompt(self._given, more=self._writing.most)

    def reading(self) -> Steps:
        """See `Author.reading`."""
        for read, logits in self._reads.read_prompt(self._given):
            if logits is not None:
                self._foretold = logits[None]
            yield read
