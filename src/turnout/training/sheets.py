"""Sheets: a text with all the questions that are asked over it at once.

Questions of one sheet share the reading of its text (`tokens`), which makes five questions over a paragraph cost little
more than one. Whose passage is on the sheet is answered; a few are asked whose passage is not, or that were bent so
that it does not answer them, to be refused.
"""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from turnout.engines.adapter import NUMBERED
from turnout.engines.prompt import REFUSAL
from turnout.router.questions import task_of
from turnout.training.data import Example, Passage, TrainingData
from turnout.training.reader_examples import Lesson, as_choice, best_first, grounded, options, preferred, question, used
from turnout.training.recipe import Evidence, Recipe, draws
from turnout.training.surroundings import Count, Pool, excerpt, holds, length, parts, pools, with_numbers
from turnout.training.twists import names_in, twisted
from turnout.types import Context, Part

Sheet = list[Lesson]
"""Lessons with the same parts in their contexts."""

OVERHEAD = 150
"""Tokens of the template, the instruction, titles and the evidence line."""

QUESTION_TOKENS = 40
"""About what one more question takes, with its answer."""

FEW = 8
"""Questions that a sheet may have however short its text is: about what is asked over a paragraph in the data."""

SUMMARY = "summarisation"

SHARING = ("extractive", "unanswerable", "choice")
"""Answer types whose questions share a text. One with a long answer is asked over its own."""


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
            choice = example.answer_type == "extractive" and draw.random() < recipe.as_choice
            kept.append(as_choice(example, of[example.passage], draw) if choice else example)
    return kept[: recipe.limit]


def sheet(
    lead: Example,
    left: dict[str, list[Example]],
    desk: Desk,
    recipe: Recipe,
    draw: random.Random,
    kind: str | None = None,
) -> Sheet:
    """A sheet around one question, whose lesson comes first; others that fit are taken out of `left` (passage ->
    examples that are still to be asked). Without a kind, it is drawn."""
    pool = desk.around[lead.dataset]
    kind = kind or _kind(lead, pool, recipe, draw)
    shown, gold = _passages(lead, left, desk, recipe, draw, kind)
    summary = task_of(lead.question) == SUMMARY
    text = _Text.of(shown, kind, desk, "none" if summary else recipe.evidence, draw)
    if lead.answer_type not in SHARING or summary:
        return [text.lesson(lead, gold)]
    others = [(example, on) for on in shown for example in _fitting(left, on, shown, desk)]
    draw.shuffle(others)
    read = sum(desk.count(passage.text) for passage in shown)
    # They may be as long as a short text together, and half as long as a long one, which costs most of the time.
    del others[max(min(read, max(recipe.max_tokens - read, read // 2)) // QUESTION_TOKENS, FEW) - 1 :]
    absent = sum(draw.random() < recipe.left_out for _ in range(len(others) + 1))
    missing = _missing(lead, absent, left, shown, pool)
    for example in (*(example for example, _ in others), *missing):
        left[example.passage].remove(example)
    asked = [(lead, gold), *others]
    bent = _twisted(asked, desk, draw, recipe.twisted) if kind == "alone" else []
    return [
        *(text.lesson(*one) for one in asked),
        *(text.lesson(one) for one in missing),
        *(replace(text.lesson(*one), kind="twisted") for one in bent),
    ]


def _twisted(
    asked: Sequence[tuple[Example, Passage]], desk: Desk, draw: random.Random, share: float
) -> list[tuple[Example, Passage]]:
    """A share of the short questions, bent; beside the questions as they are, it is what was changed that tells."""
    found = []
    for example, on in asked:
        if example.answer_type != "extractive" or draw.random() >= share:
            continue
        text = desk.passages[on.id].text
        said = sorted(set(names_in(text)))
        if bent := twisted(example.question, text, said, draw):
            found.append((replace(example, question=bent, answers=(), answer_type="unanswerable"), on))
    return found


def _passages(
    lead: Example,
    left: Mapping[str, list[Example]],
    desk: Desk,
    recipe: Recipe,
    draw: random.Random,
    kind: str,
) -> tuple[list[Passage], Passage]:
    """What stands on a sheet, in order, and the passage of its first question among it."""
    pool, count = desk.around[lead.dataset], desk.count
    asked = question(lead, desk.options)
    room = recipe.max_tokens - OVERHEAD - count(asked) - count(preferred(lead.answers) if lead.answers else "")
    free = kind == "alone" and lead.answer_type == "abstractive"
    tokens = min(recipe.free_tokens if free else _size(kind, recipe, room, draw), room)
    whole = desk.passages[lead.passage]
    evidence = best_first(lead, whole)
    if kind == "alone":
        gold = excerpt(whole, evidence, tokens, count, draw)
        return [gold], gold
    # Half of it for the passage itself, so that others stand around even a long one.
    gold = excerpt(whole, evidence, tokens // 2, count, draw)
    # Passages that are still to be asked about: their questions can share the sheet.
    wanted = [passage for passage in pool.passages if left.get(passage.id)]
    others = pool.around(lead, whole, tokens - length(gold, count), draw, wanted)
    place = draw.randint(0, len(others))
    return [*others[:place], gold, *others[place:]], gold


@dataclass(frozen=True, slots=True)
class _Text:
    """The text of a sheet.

    Attributes:
        first: id of each passage on it -> the number of its first sentence.
        evidence: what answers give first. A summary rests on no one sentence, and gives none.
    """

    parts: tuple[Part, ...]
    first: Mapping[str, int]
    kind: str
    desk: Desk
    evidence: Evidence

    @classmethod
    def of(cls, shown: Sequence[Passage], kind: str, desk: Desk, evidence: Evidence, draw: random.Random) -> _Text:
        numbers = accumulate((len(passage.sentences) for passage in shown), initial=1)
        first = {passage.id: number for passage, number in zip(shown, numbers, strict=False)}
        return cls(parts(with_numbers(shown) if evidence in NUMBERED else shown, draw), first, kind, desk, evidence)

    def lesson(self, example: Example, on: Passage | None = None) -> Lesson:
        """The question with its answer, or with the refusal where its passage is not `on` the sheet."""
        context = Context(self.parts, question(example, self.desk.options), task=task_of(example.question))
        if on is None or example.answer_type == "unanswerable":
            return Lesson(context, REFUSAL, example, (), "left out" if on is None else self.kind)
        evidence = on.inside(best_first(example, self.desk.passages[example.passage]))
        numbers = tuple(self.first[on.id] + index for index in evidence) if self.evidence in NUMBERED else ()
        answer = grounded(example, on, evidence, self.evidence, numbers)
        if task_of(example.question) == SUMMARY:
            return Lesson(context, answer, example, (), self.kind)
        return Lesson(context, answer, example, tuple(on.sentence(index) for index in evidence), self.kind, numbers)


def _kind(example: Example, pool: Pool, recipe: Recipe, draw: random.Random) -> str:
    roll = draw.random()
    # Long answers rest on much of their passage: it is not cut to half.
    if example.answer_type == "abstractive" or roll >= recipe.long + recipe.among:
        return "alone"
    if example.answer_type in ("extractive", "choice") and not pool.names_its_passage(example):
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
        whole = len(on.inside(evidence)) == len(evidence) and task_of(example.question) != SUMMARY
        if example.answer_type in SHARING and clear and not elsewhere and whole:
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
            and task_of(example.question) != SUMMARY
            and holds(passage, example)
            and not any(pool.may_answer(on, example, passage) for on in shown)
            and pool.names_its_passage(example)
        )
        if passage.id not in here and len(found) < most:
            found += [example for example in [next(absent, None)] if example]
    return found
