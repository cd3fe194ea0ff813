"""What the tokens of a question look at in the texts before it, in one layer of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from turnout.engines.prompt import ChatMessage, Piece
from turnout.engines.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from turnout.engines.paged.session import Session


def prompt(tokenizer: ChatTokenizer, texts: Sequence[str], question: str) -> tuple[list[int], list[tuple[int, int]]]:
    """A chat of the texts, one after the other, and the question; and which tokens [start, end) are each one's, those
    of the question last."""
    asked = [*(Piece(text, False) for text in texts), Piece("\n\n", True), Piece(question, False)]
    return tokenizer.encode_placed([ChatMessage("user", tuple(asked))])


def weights(session: Session, ids: Sequence[int], question: tuple[int, int], layer: int) -> list[float]:
    """[tokens before the question]: the attention of the question's tokens to each, summed over them and the heads."""
    start, end = question
    sequence = session.sequence(adapted=False)
    try:
        for at in range(0, start, sequence.chunk):
            # Not `prefill`, which keeps what it has read: no other prompt begins like this one.
            session.step([(sequence, [ids[at : min(at + sequence.chunk, start)]], ())], is_prompt=True)
        rows = sequence.attention_rows(layer, ids[start:end])
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
