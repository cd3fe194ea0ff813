"""What a reader scores on the valid fold: answers, refusals, and evidence, by dataset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from typing import Any

from turnout.router.check import is_refusal
from turnout.router.citations import Quote, locate, split_quotes
from turnout.router.evaluation.list_scores import list_f1, split_items
from turnout.router.evaluation.metrics import abstention, choice_accuracy, exact_match, rouge_l, token_f1
from turnout.router.evaluation.number_scores import number_match
from turnout.router.evaluation.statistics import macro_interval
from turnout.router.options import listed
from turnout.training.data import Example, TrainingData
from turnout.training.reader_examples import Lesson, used
from turnout.training.recipe import Recipe, draws
from turnout.training.sheets import Desk, sheet

NEW_TOKENS = 96
ROOM = 300
FAR_TOKENS = 3000
"""Length of the texts that show what distractors cost."""

WITH_NUMBERS = 1.15
"""How much longer a text is with the numbers of its sentences, about."""


@dataclass(frozen=True, slots=True)
class Task:
    """A named set of lessons to be scored."""

    name: str
    lessons: tuple[Lesson, ...]


def tasks(data: TrainingData, desk: Desk, recipe: Recipe, limit: int, window: int) -> list[Task]:
    """The valid fold as it is scored: each dataset's answerable questions over their passage alone; the largest
    dataset's among FAR_TOKENS of other passages, once those that name their passage (also alone, to compare) and once
    any; and the unanswerable ones with as many answerable ones of the same datasets.

    Args:
        limit: most questions of each set.
        window: of the model, in tokens; the far contexts leave room in it for question and answer.
    """
    draw = draws("valid", recipe.seed)
    by: defaultdict[str, list[Example]] = defaultdict(list)
    for example in used(data, "valid"):
        by["" if example.answer_type == "unanswerable" else example.dataset].append(example)
    for examples in by.values():
        draw.shuffle(examples)
    refusals = by.pop("", [])[:limit]
    alone = replace(recipe, among=0.0, long=0.0, left_out=0.0, among_tokens=(recipe.max_tokens, recipe.max_tokens))
    size = min(int(FAR_TOKENS * WITH_NUMBERS), window - ROOM - NEW_TOKENS)
    far = replace(alone, max_tokens=size + ROOM, batch_tokens=size + ROOM, among_tokens=(size, size))
    found = [Task(name, _lessons(examples[:limit], desk, alone)) for name, examples in sorted(by.items())]
    largest = max(by, key=lambda name: len(by[name]))
    distance = f"{largest}, {int(size / WITH_NUMBERS):,} tokens"
    found.append(Task(distance, _lessons(by[largest][:limit], desk, far, "long")))
    # A question that names no passage of its own ("What did the reviewer like?") asks something else of every text.
    named = (example for example in by[largest] if desk.around[largest].names_its_passage(example))
    if clear := list(islice(named, limit)):
        found.append(Task(f"{largest}, clear", _lessons(clear, desk, alone)))
        found.append(Task(f"{distance}, clear", _lessons(clear, desk, far, "long")))
    found.append(Task(REFUSALS, _lessons([*refusals, *_as_many(refusals, by)], desk, alone)))
    return found


REFUSALS = "refusals"


def score(task: Task, texts: Sequence[str]) -> dict[str, Any]:
    """The figures of one task.

    Args:
        texts: what the model wrote, one for each lesson.
    """
    rows = [_row(lesson, text) for lesson, text in zip(task.lessons, texts, strict=True)]
    if task.name == REFUSALS:
        return {"n": len(rows), **abstention(rows)}
    names = sorted({name for row in rows for name in row["metrics"]})
    figures: dict[str, Any] = {"n": len(rows)}
    figures |= {name: fmean(row["metrics"][name] for row in rows if name in row["metrics"]) for name in names}
    scores, passages = [row["score"] for row in rows], [row["passage"] for row in rows]
    found = macro_interval(scores, passages, [task.name] * len(rows))
    figures["low"], figures["high"] = found.low, found.high
    answered = [row for row in rows if not row["abstained"]]
    figures["refused"] = 1 - len(answered) / len(rows)
    quoted = [row["evidence"] for row in answered if row["evidence"] is not None]
    figures["evidence"] = fmean(quoted) if quoted else None
    return figures


def _row(lesson: Lesson, text: str) -> dict[str, Any]:
    answer, quotes = split_quotes(text)
    example, abstained = lesson.example, is_refusal(answer)
    figures = {} if example.answer_type == "unanswerable" else _metrics(lesson, "" if abstained else answer)
    return {
        "answer_type": example.answer_type,
        "abstained": abstained,
        "passage": example.passage,
        "metrics": figures,
        "score": next(iter(figures.values()), float(abstained)),
        "evidence": any(_is_gold(quote, lesson) for quote in quotes) if lesson.evidence else None,
    }


def _is_gold(quote: Quote, lesson: Lesson) -> bool:
    if quote.number is not None:
        return quote.number in lesson.numbers
    return any(locate(quote.text, sentence) for sentence in lesson.evidence)


def _metrics(lesson: Lesson, answer: str) -> dict[str, float]:
    """The metrics of an answer, the one of its type first."""
    gold = lesson.example.answers
    match lesson.example.answer_type:
        case "choice":
            return {"accuracy": choice_accuracy(answer, listed(lesson.context.question), gold[0])}
        case "number":
            return {"number": number_match(answer, gold), "f1": token_f1(answer, gold)}
        case "list":
            return {"list_f1": list_f1(answer, split_items(gold[0]))}
        case "abstractive":
            return {"rouge_l": rouge_l(answer, gold), "f1": token_f1(answer, gold)}
    return {"f1": token_f1(answer, gold), "em": exact_match(answer, gold)}


def _as_many(refusals: Sequence[Example], by: Mapping[str, Sequence[Example]]) -> list[Example]:
    """As many answerable examples as there are refusals, of the same datasets."""
    wanted = Counter(example.dataset for example in refusals)
    return [example for dataset, count in sorted(wanted.items()) for example in by.get(dataset, ())[:count]]


def _lessons(examples: Sequence[Example], desk: Desk, recipe: Recipe, kind: str | None = None) -> tuple[Lesson, ...]:
    return tuple(sheet(example, {}, desk, recipe, draws(recipe.seed, example.id), kind)[0] for example in examples)
