"""Pairs of question and passage for the pruner: which characters the answer wants, and whether the passage has it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from turnout.retrieval.segment import MAX_TOKENS, estimate_tokens
from turnout.training.data import Example, Passage, TrainingData
from turnout.training.recipe import draws
from turnout.training.surroundings import Pool, pools

NO_EVIDENCE = frozenset({"long"})
"""Answer types that name no sentences: whole passages are their answers."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One thing to learn.

    Attributes:
        wanted: characters [start, end) of the passage that the answer stands in; none where it has no answer.
        relevant: whether the passage answers; None where it is about the question and does not, which says nothing of
            the order of passages.
    """

    question: str
    passage: str
    wanted: tuple[tuple[int, int], ...]
    relevant: bool | None
    dataset: str
    group: str


def chosen(data: TrainingData, fold: str, limit: int | None, draw: random.Random) -> list[Example]:
    """The examples of a fold that evidence is known of, at random, at most `limit`."""
    known = [example for example in data.examples if example.fold == fold and _is_used(example)]
    draw.shuffle(known)
    return known[:limit]


def pairs(
    data: TrainingData, examples: Sequence[Example], elsewhere: float, draw: random.Random
) -> Iterator[tuple[Pair, ...]]:
    """For each example: its passage in pieces as long as a segment, those with evidence and one without, and for a
    share of them a passage that is like the question and does not answer it.

    Args:
        elsewhere: that share.
    """
    around = around_of(data, examples)
    for example in examples:
        yield tuple(_of(example, data.passages, around[example.dataset], elsewhere, draw))


def around_of(data: TrainingData, examples: Sequence[Example]) -> Mapping[str, Pool]:
    """The passages that are searched for what looks like an answer, by dataset."""
    return pools(data.passages, examples, estimate_tokens)


def _of(
    example: Example, passages: Mapping[str, Passage], pool: Pool, elsewhere: float, draw: random.Random
) -> Iterator[Pair]:
    passage = passages[example.passage]
    answerable = example.answer_type != "unanswerable"
    evidence = set(example.evidence) if answerable else set()
    without: list[Pair] = []
    for first, last in pieces(passage):
        start, end = passage.sentences[first][0], passage.sentences[last - 1][1]
        wanted = tuple(
            (passage.sentences[index][0] - start, passage.sentences[index][1] - start)
            for index in range(first, last)
            if index in evidence
        )
        text = passage.text[start:end]
        if wanted:
            yield Pair(example.question, text, wanted, True, example.dataset, passage.id)
        else:
            without.append(Pair(example.question, text, (), None, example.dataset, passage.id))
    if without:
        yield draw.choice(without)
    if draw.random() < elsewhere and (other := likely(example, passage, pool, draw)) is not None:
        yield Pair(example.question, other, (), False, example.dataset, passage.id)


def likely(example: Example, passage: Passage, pool: Pool, draw: random.Random) -> str | None:
    """A piece of one of the passages most like the question that can't answer it; None where there is none."""
    others = [
        other
        for other in pool.alike(example.question)
        if other.id != passage.id and other.sentences and not pool.may_answer(other, example, passage)
    ]
    if not others:
        return None
    other = others[min(int(draw.expovariate(0.3)), len(others) - 1)]
    first, last = draw.choice(list(pieces(other)))
    return other.text[other.sentences[first][0] : other.sentences[last - 1][1]]


def pieces(passage: Passage) -> Iterator[tuple[int, int]]:
    """[first, last) of the sentences of pieces that are at most as long as a segment; a longer sentence is its own."""
    first, size = 0, 0
    for index, (start, end) in enumerate(passage.sentences):
        tokens = estimate_tokens(passage.text[start:end])
        if index > first and size + tokens > MAX_TOKENS:
            yield first, index
            first, size = index, 0
        size += tokens
    if passage.sentences:
        yield first, len(passage.sentences)


def _is_used(example: Example) -> bool:
    if example.answer_type in NO_EVIDENCE:
        return False
    return example.answer_type == "unanswerable" or bool(example.evidence)


def seeded(seed: int, *key: object) -> random.Random:
    """Draws of a training of the pruner."""
    return draws("pruner", seed, *key)
