"""Contexts to ask in: a passage alone, among others of its dataset, or without it; whole sentences in their order."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain

import numpy as np

from turnout.documents import Span
from turnout.retrieval.lexical import LexicalIndex
from turnout.sentences import numbered
from turnout.training.data import Example, Passage
from turnout.types import Part

Count = Callable[[str], int]
"""Tokens of a text in the reader's own tokenizer."""

SIMILAR = 40
"""Passages most like the question that distractors are drawn from; the rest is drawn from all."""

SHORT_ANSWER = 3
"""Characters below which an answer stands almost everywhere, so that finding it in a passage says nothing."""

GENERIC_TITLE = 500
"""Passages under one title from which the title names a source, such as a site, and no longer one article."""

WORTHWHILE = 60
"""Tokens under which another passage is not worth adding."""

NUMBER_TOKENS = 5
"""Of a sentence's number before it, such as "[12] "."""

AS_DOCUMENTS = 0.25
"""Share of contexts whose passages come as documents of their own, with titles."""


class Pool:
    """The passages of one dataset and fold, with the questions that are asked over them.

    Args:
        asked: passage id -> its questions.
        count: of the reader.
    """

    def __init__(self, passages: Iterable[Passage], asked: Mapping[str, set[str]], count: Count) -> None:
        self.passages = tuple(passages)
        self._asked = asked
        self._count = count
        self._titles = Counter(passage.title for passage in self.passages)
        self._nearest: dict[str, str] = {}

    @cached_property
    def _words(self) -> LexicalIndex:
        return LexicalIndex([passage.text for passage in self.passages])

    def around(
        self, example: Example, gold: Passage, tokens: int, draw: random.Random, wanted: Sequence[Passage] = ()
    ) -> list[Passage]:
        """Passages of about `tokens` together from which the example can't be answered: about half of them like the
        question, as a search would bring them, the others at random, the wanted ones first; the last one may be an
        excerpt."""
        near = self.alike(example.question)
        draw.shuffle(near)
        any_ = (self.passages[draw.randrange(len(self.passages))] for _ in range(20 * SIMILAR))
        seen = {gold.id}
        picked = []
        for passage in _in_turn(near, chain(draw.sample(wanted, len(wanted)), any_)):
            if tokens < WORTHWHILE:
                break
            if passage.id in seen or self.may_answer(passage, example, gold):
                continue
            seen.add(passage.id)
            piece = excerpt(passage, (), tokens, self._count, draw)
            size = length(piece, self._count)
            if size <= tokens:
                picked.append(piece)
                tokens -= size
        draw.shuffle(picked)
        return picked

    def alike(self, question: str) -> list[Passage]:
        """The passages most like the question, the likest first."""
        order = np.argsort(-self._words.scores(question), kind="stable")
        return [self.passages[index] for index in order[:SIMILAR]]

    def names_its_passage(self, example: Example) -> bool:
        """Whether the question's words find its own passage before all others: a question such as "What did the
        reviewer like?" means another text in every other place."""
        if example.id not in self._nearest:
            self._nearest[example.id] = self.alike(example.question)[0].id
        return self._nearest[example.id] == example.passage

    def may_answer(self, passage: Passage, example: Example, gold: Passage) -> bool:
        """Whether another passage than its own may hold an example's answer, or rule out that there is none."""
        if holds(passage, example) or example.question in self._asked.get(passage.id, ()):
            return True
        # An unanswerable question can be another paragraph's own: its article is left out whole.
        same_article = passage.title == gold.title and self._titles[passage.title] < GENERIC_TITLE
        return example.answer_type == "unanswerable" and same_article


def pools(passages: Mapping[str, Passage], examples: Iterable[Example], count: Count) -> dict[str, Pool]:
    """One pool for each dataset, of the passages that the examples are asked over."""
    of: defaultdict[str, dict[str, Passage]] = defaultdict(dict)
    asked: defaultdict[str, set[str]] = defaultdict(set)
    for example in examples:
        of[example.dataset][example.passage] = passages[example.passage]
        asked[example.passage].add(example.question)
    return {dataset: Pool(found.values(), asked, count) for dataset, found in of.items()}


def holds(passage: Passage, example: Example) -> bool:
    """Whether an answer of the example stands in the passage, so that it could be answered from it."""
    text = passage.text.casefold()
    return any(len(answer) >= SHORT_ANSWER and answer.casefold().strip(" .") in text for answer in example.answers)


def length(passage: Passage, count: Count) -> int:
    """Tokens of a passage in a prompt, with the numbers of its sentences. Texts without numbers are counted like those
    with them, so that both are of the same texts."""
    return count(passage.text) + NUMBER_TOKENS * len(passage.sentences)


def excerpt(passage: Passage, evidence: Sequence[int], tokens: int, count: Count, draw: random.Random) -> Passage:
    """The passage, or sentences of at most `tokens` that hold all of the evidence, or the first of it where it is too
    long (anywhere, without evidence); it stands at any place in them. At least one sentence is kept."""
    if not passage.sentences or length(passage, count) <= tokens:
        return passage
    sizes = [count(passage.sentence(index)) + 1 + NUMBER_TOKENS for index in range(len(passage.sentences))]
    low, high = (min(evidence), max(evidence)) if evidence else (draw.randrange(len(sizes)),) * 2
    if evidence and sum(sizes[low : high + 1]) > tokens:
        low = high = evidence[0]
    left = tokens - sum(sizes[low : high + 1])
    while True:
        sides = [side for side in (low - 1, high + 1) if 0 <= side < len(sizes)]
        if not sides:
            break
        side = draw.choice(sides)
        left -= sizes[side]
        if left < 0:
            break
        low, high = min(side, low), max(side, high)
    start, end = passage.sentences[low][0], passage.sentences[high][1]
    sentences = tuple((a - start, b - start) for a, b in passage.sentences[low : high + 1])
    return replace(passage, text=passage.text[start:end], sentences=sentences, first=passage.first + low)


def with_numbers(passages: Iterable[Passage]) -> Iterator[Passage]:
    """The passages with a number before each sentence, counted over all of them."""
    number = 1
    for passage in passages:
        text = numbered(passage.text, (start for start, _ in passage.sentences), number)
        number += len(passage.sentences)
        yield replace(passage, text=text, sentences=())


def parts(passages: Iterable[Passage], draw: random.Random) -> tuple[Part, ...]:
    """The passages as what an engine reads: places in one document, or documents with titles."""
    several = draw.random() < AS_DOCUMENTS
    return tuple(
        Part(passage.text, Span(passage.id if several else "document", 0, len(passage.text)), passage.title)
        for passage in passages
    )


def _in_turn(first: Iterable[Passage], second: Iterable[Passage]) -> Iterator[Passage]:
    others = iter(second)
    for passage in first:
        yield passage
        yield from [other for other in [next(others, None)] if other is not None]
    yield from others
