"""How unlikely texts are to a model: the negative logarithms of their tokens' probabilities, in nats.

A step reads a few tokens of one text or of several, and only the tokens' own figures are kept of its logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

from turnout.engines.tokenizer import ChatTokenizer
from turnout.progress import Watch

if TYPE_CHECKING:
    from turnout.engines.paged.session import Session

STEP_TOKENS = 512
"""Tokens that go through the model at once."""

ROWS = 128
"""Of them, those that are followed by one asked for: so many logits over the vocabulary are there at once."""

Asked = tuple[list[int], int]
"""Token ids, and the place, from 1, of the first that is asked for."""


def continued(tokenizer: ChatTokenizer, texts: Sequence[str], continuation: str) -> list[Asked]:
    """A continuation after each text; both are encoded alone, so that its tokens are always the same."""
    start, after = _start(tokenizer), tokenizer.encode_text(continuation)
    before = [[*start, *tokenizer.encode_text(text)] for text in texts]
    return [([*ids, *after], len(ids)) for ids in before]


def lined(tokenizer: ChatTokenizer, text: str, lines: Sequence[tuple[int, int]]) -> tuple[Asked, list[tuple[int, int]]]:
    """A text whose lines are encoded one by one, so that no token is of two, and which tokens asked for are whose.

    Args:
        lines: characters [start, end), in order.

    Raises:
        ValueError: they are not in order, or not in the text.
    """
    ids = _start(tokenizer)
    first, at = len(ids), 0
    places = []
    for start, end in lines:
        if not at <= start <= end <= len(text):
            raise ValueError(f"a line from {start} to {end} after {at} in a text of {len(text)} characters")
        ids += tokenizer.encode_text(text[at:start])
        begin = len(ids)
        ids += tokenizer.encode_text(text[start:end])
        places.append((begin - first, len(ids) - first))
        at = end
    return (ids, first), places


def losses(session: Session, asked: Sequence[Asked], watch: Watch | None = None) -> list[list[float]]:
    """[asked][tokens from the first asked for], each after all tokens before it.

    Raises:
        Cancelled: the watch said so after a step.
    """
    watch = watch or Watch()
    read = (
        found
        for batch in _batches([(ids, first) for ids, first in asked if first < len(ids)])
        for found in _read(session, batch, watch)
    )
    return [next(read) if first < len(ids) else [] for ids, first in asked]


def mean(values: Sequence[float]) -> float:
    """0 of none."""
    return fmean(values) if values else 0.0


def _read(session: Session, batch: Sequence[Asked], watch: Watch) -> list[list[float]]:
    import torch

    found: list[list[float]] = [[] for _ in batch]
    with ExitStack() as stack:
        sequences = [session.sequence(adapted=False) for _ in batch]
        for sequence in sequences:
            stack.callback(sequence.close, keep=False)
        for slices in zip(*(_slices(*each) for each in batch), strict=True):
            feeds, after = [], []
            for sequence, (ids, first), (start, end) in zip(sequences, batch, slices, strict=True):
                # The token before one that is asked for foretells it.
                begin = max(first - 1, start)
                feeds.append((sequence, [ids[start:end]], range(begin - start, end - start)))
                after.append(ids[begin + 1 : end + 1])
            logits = session.step(feeds, is_prompt=True).float()
            watch.read(sum(len(pieces[0]) for _, pieces, _ in feeds))
            wanted = torch.tensor([token for ids in after for token in ids], device=logits.device, dtype=torch.long)
            values = iter((logits.logsumexp(-1) - logits.gather(-1, wanted[:, None])[:, 0]).tolist())
            for place, ids in enumerate(after):
                found[place] += [next(values) for _ in ids]
    return found


def _batches(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Those that fit a step together; one that does not is alone, and takes several."""
    batch: list[Asked] = []
    tokens = rows = 0
    for ids, first in asked:
        tokens, rows = tokens + len(ids) - 1, rows + len(ids) - first
        if batch and (tokens > STEP_TOKENS or rows > ROWS):
            yield batch
            batch, tokens, rows = [], len(ids) - 1, len(ids) - first
        batch.append((ids, first))
    if batch:
        yield batch


def _slices(ids: Sequence[int], first: int) -> list[tuple[int, int]]:
    """Tokens [start, end) of each step; the last token is not read, since it foretells none that is asked for."""
    cuts = [0]
    while cuts[-1] < len(ids) - 1:
        cuts.append(min(cuts[-1] + STEP_TOKENS, max(cuts[-1], first - 1) + ROWS, len(ids) - 1))
    return list(pairwise(cuts))


def _start(tokenizer: ChatTokenizer) -> list[int]:
    """What stands before every text, because something has to foretell its first token."""
    for role in ("bos_token", "pad_token", "eos_token"):
        found = tokenizer.id_of(tokenizer.special(role))
        if found is not None:
            return [found]
    return tokenizer.encode_text("\n")
