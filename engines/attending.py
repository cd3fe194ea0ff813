"""What the tokens of a question look at in the texts before it, in one layer of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from turnout.engines.prompt import ChatMessage, Piece
from turnout.engines.tokenizer import ChatTokenizer
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.engines.paged.session import Session


def prompt(tokenizer: ChatTokenizer, texts: Sequence[str], question: str) -> tuple[list[int], list[tuple[int, int]]]:
    """A chat of the texts, one after the other, and the question; and which tokens [start, end) are each one's, those
    of the question last."""
    asked = [*(Piece(text, False) for text in texts), Piece("\n\n", True), Piece(question, False)]
    return tokenizer.encode_placed([ChatMessage("user", tuple(asked))])


def weights(session: Session, ids: Sequence[int], question: tuple[int, int], layer: int, watch: Watch) -> list[float]:
    """[tokens before the question]: the attention of the question's tokens to each, summed over them and the heads.

    Raises:
        Cancelled: the watch said so after a step.
    """
    start, end = question
    sequence = session.sequence(adapted=False)
    try:
        for at in range(0, start, sequence.chunk):
            # Not `prefill`, which keeps what it has read: no other prompt begins like this one.
            piece = ids[at : min(at + sequence.chunk, start)]
            session.step([(sequence, [piece], ())], is_prompt=True)
            watch.read(len(piece))
        rows = sequence.attention_rows(layer, ids[start:end])
        watch.read(end - start)
        summed: list[float] = rows[..., :start].float().sum((0, 1)).tolist()
    finally:
        sequence.close(keep=False)
    return summed


def words(tokenizer: ChatTokenizer, ids: Iterable[int]) -> frozenset[int]:
    """The tokens that are part of a word. Models look at the others, such as full stops and line ends, whatever is
    asked (attention sinks, arXiv 2309.17453)."""
    return frozenset(token for token in set(ids) if any(map(_is_word, tokenizer.decode([token]))))


def _is_word(letter: str) -> bool:
    """A part of a letter that has several tokens is one too; alone it can't be shown."""
    return letter.isalnum() or letter == "\ufffd"
