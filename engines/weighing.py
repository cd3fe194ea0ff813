"""Weighs given answers to several questions over one text by the model's next token; the text is read once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from turnout.engines.prompt import ChatMessage, Piece
from turnout.engines.tokenizer import ChatTokenizer
from turnout.errors import ConfigurationError
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.engines.paged.session import Session

STEP_TOKENS = 512
"""Tokens of questions that go through the model at once."""


def prompts(tokenizer: ChatTokenizer, text: str, questions: Sequence[str]) -> list[list[int]]:
    """A chat for each question: the text, then the question, both as plain text, without any instruction."""
    return [
        tokenizer.encode([ChatMessage("user", (Piece(text, False), Piece("\n\n", True), Piece(question, False)))])
        for question in questions
    ]


def first_tokens(tokenizer: ChatTokenizer, answers: Sequence[str]) -> list[int]:
    """The token that each answer begins with.

    Raises:
        ConfigurationError: two begin alike, so that their first token does not tell them apart.
    """
    found = [tokenizer.encode_text(answer)[0] for answer in answers]
    if len(set(found)) < len(found):
        raise ConfigurationError(
            f"the answers {', '.join(answers)} begin with the same token in this model", hint="give others"
        )
    return found


def weigh(
    session: Session, asked: Sequence[list[int]], columns: Sequence[int], watch: Watch | None = None
) -> list[list[float]]:
    """[prompts][columns] shares of 1.

    Args:
        asked: prompts, one or more; what all of them begin with is read once.
        columns: tokens between which the model chooses.

    Raises:
        Cancelled: the watch said so after a step.
    """
    import torch

    watch = watch or Watch()
    # The last token of a prompt stays its own: what follows it is what is asked for.
    same = list(takewhile(lambda at: len({ids[at] for ids in asked}) == 1, range(min(map(len, asked)) - 1)))
    shares: list[list[float]] = []
    with session.sequence(watch.namespace, adapted=False) as text:
        if same:
            before = 0
            for read, _ in text.reading(asked[0][: len(same)]):
                watch.read(read - max(before, text.reused))
                before = read
        for batch in _batches(asked, len(same)):
            branches = [text.fork() for _ in batch]
            try:
                feeds = [(branch, [ids[len(same) :]], (-1,)) for branch, ids in zip(branches, batch, strict=True)]
                logits = session.step(feeds, columns, is_prompt=True)
            finally:
                for branch in branches:
                    branch.close(keep=False)
            watch.read(sum(len(ids) - len(same) for ids in batch))
            shares += torch.softmax(logits.float(), -1).tolist()
    return shares


def _batches(asked: Sequence[list[int]], shared: int) -> list[list[list[int]]]:
    batches: list[list[list[int]]] = [[]]
    tokens = 0
    for ids in asked:
        if batches[-1] and tokens + len(ids) - shared > STEP_TOKENS:
            batches.append([])
            tokens = 0
        batches[-1].append(ids)
        tokens += len(ids) - shared
    return batches
