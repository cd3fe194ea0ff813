"""Which tokens of a text a model looks at where it begins to answer (SpecPC, arXiv 2506.08373, with the reader itself
as the draft model).

The last tokens of the prompt, and the first one of the answer, look back at the text. Of their attention the strongest
counts, over heads, layers and tokens, and later tokens count more.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from turnout.engines.attending import words
from turnout.engines.prompt import ChatMessage, Piece
from turnout.engines.tokenizer import ChatTokenizer
from turnout.progress import Watch

if TYPE_CHECKING:
    import torch

    from turnout.engines.paged.session import Session

QUERIES = 64
"""Most prompt tokens, the last ones, whose attention counts; as published. Those of the text itself never do: in each
window they would look at what stands beside them."""

FIRST_LAYER = 8
"""Layers from which on attention counts, as published; the later half of models that have few."""

SINKS = 4
"""First tokens of a prompt, which are looked at whatever is asked (attention sinks, arXiv 2309.17453)."""

ROWS = 16
"""Query tokens that are read at once: the attention of all layers and heads is there for so many."""


def prompt(tokenizer: ChatTokenizer, ids: Sequence[int], question: str) -> tuple[list[int], int]:
    """A chat of a text, by its ids, and the question; and how many tokens stand before the text."""
    asked = (Piece("", False), Piece("\n\n", True), Piece(question, False))
    around, places = tokenizer.encode_placed([ChatMessage("user", asked)])
    begin = places[0][0]
    return [*around[:begin], *ids, *around[begin:]], begin


def importance(
    session: Session, tokenizer: ChatTokenizer, ids: Sequence[int], begin: int, end: int, layers: int, watch: Watch
) -> list[float]:
    """Of each token [begin, end) of a prompt, 0 to 1; 0 of what is no part of a word.

    Args:
        ids: the prompt, up to where the answer begins.
        layers: of the model.

    Raises:
        Cancelled: the watch said so after a step.
    """
    queries = min(QUERIES, len(ids) - end)
    first = len(ids) - queries
    observed = range(min(FIRST_LAYER, layers // 2), layers)
    with_answer: torch.Tensor | None = None
    found: torch.Tensor | None = None
    sequence = session.sequence(adapted=False)
    try:
        for at in range(0, first, sequence.chunk):
            # Not `prefill`, which keeps what it has read: no other prompt begins like this one.
            piece = ids[at : min(at + sequence.chunk, first)]
            session.step([(sequence, [piece], ())], is_prompt=True)
            watch.read(len(piece))
        for start, stop in pairwise([*range(first, len(ids), ROWS), len(ids)]):
            rows, with_answer = sequence.observe(observed, ids[start:stop])
            ramp = [(at - first + 1) / queries for at in range(start, stop)]
            found = _strongest(rows, ramp, begin, end, found)
            watch.read(stop - start)
        if with_answer is not None:
            rows, _ = sequence.observe(observed, [int(with_answer.argmax())])
            found = _strongest(rows, [1.0], begin, end, found)
            watch.read(1)
    finally:
        sequence.close(keep=False)
    if found is None:
        return [0.0] * (end - begin)
    in_words = words(tokenizer, ids[begin:end])
    values: list[float] = found.tolist()
    return [value if ids[at] in in_words and at >= SINKS else 0.0 for at, value in enumerate(values, begin)]


def _strongest(
    rows: dict[int, torch.Tensor], ramp: Sequence[float], begin: int, end: int, before: torch.Tensor | None
) -> torch.Tensor:
    """[end - begin]: the strongest of the rows' attention and of what was found before.

    Args:
        rows: layer -> [query heads, rows, keys].
        ramp: what each row counts.
    """
    import torch

    counted = [
        (weights[..., begin:end].float() * torch.tensor(ramp, device=weights.device)[:, None]).amax((0, 1))
        for weights in rows.values()
    ]
    return torch.stack(counted if before is None else [before, *counted]).amax(0)
