"""Sheets: a text with all the questions that are asked over it at once.

Questions of one sheet share the reading of its text (`tokens`), which makes five questions over a paragraph cost little
more than one. Whose passage is on the sheet is answered; a few are asked whose passage is not, to be refused.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from turnout.engines.prompt import REFUSAL
from turnout.router.questions import task_of
from turnout.training.data import Example, Passage, TrainingData
from turnout.training.reader_examples import Lesson, best_first, grounded, options, preferred, question, used
from turnout.training.recipe import Recipe, draws
from turnout.training.surroundings import Count, Pool, excerpt, holds, parts, pools
from turnout.types import Context

Sheet = list[Lesson]
"""Lessons with the same parts in their contexts."""

OVERHEAD = 150
"""Tokens of the template, the instruction, titles and the evidence line."""

QUESTION_TOKENS = 40
"""About what one more question takes, with its answer: all of them shall not be longer than the text."""

SHARING = ("extractive", "unanswerable")
"""Answer types whose questions share a text. One with a long answer, or with options, is asked over its own."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What sheets are made with."""

    passages: Mapping[str, Passage]
    around: Mapping[str, Pool]
    options: Mapping[str, tuple[str, ...]]
    count: Count

    @classmethod
    def of(cls, data: TrainingData, fold: str, count: Count) -> Desk:
        """For the examples of a fold; `count` gives the tokens of a text."""
        return cls(data.passages, pools(data.passages, used(data, fold), count), options(data), count)


def sheets(data: TrainingData, fold: str, recipe: Recipe, count: Count) -> Iterator[Sheet]:
    """The lessons of a fold, every example once a round, in an order and with contexts that the seed decides; each
    prompt with its answer is about `recipe.max_tokens` long at most."""
    desk = Desk.of(data, fold, count)
    for round_ in range(recipe.rounds):
        draw = draws(recipe.seed, round_)
        left: dict[str, list[Example]] = {}
        for example in chosen(data, fold, recipe, draw):
            left.setdefault(example.passage, []).append(example)
        for examples in left.values():
            while examples:
                lead = examples.pop()
                yield sheet(lead, left, desk, recipe, draws(recipe.seed, round_, lead.id))


def chosen(data: TrainingData, fold: str, recipe: Recipe, draw: random.Random) -> list[Example]:
    """The examples of a round: at most as many as the recipe says, in all and of a dataset, passage by passage, so that
    those of one text stay together."""
    of: defaultdict[str, list[Example]] = defaultdict(list)
    for example in used(data, fold):
        of[example.passage].append(example)
    passages = list(of.values())
    draw.shuffle(passages)
    limits, kept, counts = dict(recipe.limits), list[Example](), Counter[str]()
    for example in (example for examples in passages for example in draw.sample(examples, len(examples))):
        if counts[example.dataset] < limits.get(example.dataset, sys.maxsize):
            counts[example.dataset] += 1
            kept.append(example)
    return kept[: recipe.limit]


def sheet(lead: Example, left: dict[str, list[Example]], desk: Desk, recipe: Recipe, draw: random.Random) -> Sheet:
    """A sheet around one question, whose lesson comes first; others that fit are taken out of `left` (passage ->
    examples that are still to be asked)."""
    pool, count = desk.around[lead.dataset], desk.count
    asked = question(lead, desk.options)
    room = recipe.max_tokens - OVERHEAD - count(asked) - count(preferred(lead.answers) if lead.answers else "")
    kind = _kind(lead, pool, recipe, draw)
    tokens = room if lead.answer_type == "abstractive" else min(_size(kind, recipe, room, draw), room)
    whole = desk.passages[lead.passage]
    # Half of it for the passage itself, so that others stand around even a long one.
    gold = excerpt(whole, best_first(lead, whole), tokens if kind == "alone" else tokens // 2, count, draw)
    others = [] if kind == "alone" else pool.around(lead, whole, tokens - count(gold.text), draw)
    place = draw.randint(0, len(others))
    shown = [*others[:place], gold, *others[place:]]
    shared = parts(shown, draw)

    def lesson(example: Example, on: Passage | None) -> Lesson:
        context = Context(shared, question(example, desk.options), task=task_of(example.question))
        if on is None or example.answer_type == "unanswerable":
            return Lesson(context, REFUSAL, example, (), "left out" if on is None else kind)
        evidence = on.inside(best_first(example, desk.passages[example.passage]))
        answer = grounded(example, on, evidence, recipe.evidence)
        return Lesson(context, answer, example, tuple(on.sentence(index) for index in evidence), kind)

    if lead.answer_type not in SHARING:
        return [lesson(lead, gold)]
    others_asked = [(example, on) for on in shown for example in _fitting(left, on, shown, desk)]
    draw.shuffle(others_asked)
    read = sum(count(passage.text) for passage in shown)
    del others_asked[max(min(read, recipe.max_tokens - read) // QUESTION_TOKENS, 1) - 1 :]
    absent = sum(draw.random() < recipe.left_out for _ in range(len(others_asked) + 1))
    missing = _missing(lead, absent, left, shown, pool)
    for example in (*(example for example, _ in others_asked), *missing):
        left[example.passage].remove(example)
    return [lesson(lead, gold), *(lesson(*one) for one in others_asked), *(lesson(one, None) for one in missing)]


def _kind(example: Example, pool: Pool, recipe: Recipe, draw: random.Random) -> str:
    roll = draw.random()
    # Long answers rest on much of their passage: it is not cut to half.
    if example.answer_type == "abstractive" or roll >= recipe.long + recipe.among:
        return "alone"
    if example.answer_type == "extractive" and not pool.names_its_passage(example):
        return "alone"
    return "long" if roll < recipe.long else "among"


def _size(kind: str, recipe: Recipe, room: int, draw: random.Random) -> int:
    low, high = recipe.among_tokens
    if kind == "long":
        low, high = min(high, room), max(high, room)
    return draw.randint(low, high)


def _fitting(left: Mapping[str, list[Example]], on: Passage, shown: Sequence[Passage], desk: Desk) -> Iterator[Example]:
    """The questions of a shown passage that nothing else on the sheet may answer."""
    for example in left.get(on.id, ()):
        pool = desk.around[example.dataset]
        elsewhere = any(pool.may_answer(other, example, on) for other in shown if other is not on)
        evidence = best_first(example, desk.passages[on.id])
        clear = len(shown) == 1 or example.answer_type == "unanswerable" or pool.names_its_passage(example)
        if example.answer_type in SHARING and clear and not elsewhere and len(on.inside(evidence)) == len(evidence):
            yield example


def _missing(
    lead: Example, most: int, left: Mapping[str, list[Example]], shown: Sequence[Passage], pool: Pool
) -> list[Example]:
    """Questions of passages like those on the sheet, at most one of each, that the sheet can't answer: they name their
    own passage, and their answer, which stands there word for word, does not stand here."""
    here = {passage.id for passage in shown}
    found: list[Example] = []
    for passage in pool.alike(lead.question) if most else ():
        absent = (
            example
            for example in left.get(passage.id, ())
            if example.answer_type == "extractive"
            and holds(passage, example)
            and not any(pool.may_answer(on, example, passage) for on in shown)
            and pool.names_its_passage(example)
        )
        if passage.id not in here and len(found) < most:
            found += [example for example in [next(absent, None)] if example]
    return found
