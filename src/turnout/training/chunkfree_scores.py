"""What an adapter that points at sentences is worth on the valid fold, beside the model as it is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from turnout.contracts import Locates
from turnout.errors import ConfigurationError
from turnout.progress import Progress
from turnout.retrieval.chunkfree import SPAN_TOKENS, SPANS
from turnout.router.evaluation.statistics import macro_interval, paired_difference
from turnout.training.chunkfree_lessons import Lesson

FIGURES = ("first", "f1", "exact", "found", "share")


@dataclass(frozen=True, slots=True)
class Row:
    """One question.

    Attributes:
        first: whether the likeliest stretch has a sentence of the evidence.
        f1: of the likeliest stretch's sentences against the evidence's: one that is too long gains nothing.
        exact: whether the likeliest is a stretch of the evidence, end and all.
        found: share of the evidence's sentences that the SPANS likeliest hold.
        share: of the text's sentences, those that all stretches hold.
    """

    id: str
    first: float
    f1: float
    exact: float
    found: float
    share: float


def rows(engine: Locates, lessons: Sequence[Lesson], file: Path, stage: str, progress: Progress) -> list[Row]:
    """A row for each lesson, kept as a line as soon as it is known; those that the file has are not asked again.

    Raises:
        ConfigurationError: the file has a damaged line.
    """
    known = {row.id: row for row in _load(file)}
    found = []
    for done, lesson in enumerate(lessons, start=1):
        row = known.get(lesson.example.id)
        if row is None:
            row = _row(engine, lesson)
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(dataclasses.asdict(row)) + "\n")
        found.append(row)
        progress(stage, done, len(lessons))
    return found


def compared(lessons: Sequence[Lesson], ways: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """`n`, the figures of each way, `macro` of `f1`, and `difference`, the `f1` with the adapter less that without;
    macros over datasets, intervals over passages."""
    passages = [lesson.example.passage for lesson in lessons]
    datasets = [lesson.example.dataset for lesson in lessons]
    scores: dict[str, Any] = {"n": len(lessons)}
    for way, found in ways.items():
        scores[way] = {name: round(fmean(getattr(row, name) for row in found), 4) for name in FIGURES}
        interval = macro_interval([row.f1 for row in found], passages, datasets)
        scores[way]["macro"] = dataclasses.asdict(interval)
    trained, plain = ([row.f1 for row in ways[way]] for way in ("trained", "plain"))
    scores["difference"] = dataclasses.asdict(paired_difference(trained, plain, passages, datasets))
    return scores


def _row(engine: Locates, lesson: Lesson) -> Row:
    stretches = engine.locate(lesson.sentences, lesson.example.question, SPANS, SPAN_TOKENS)
    gold = {number for first, end in lesson.runs for number in range(first, end)}
    told = [set(range(each.first, each.end)) for each in stretches]
    held = set[int]().union(*told)
    best = told[0] if told else set()
    return Row(
        lesson.example.id,
        float(bool(gold & best)),
        2 * len(gold & best) / (len(gold) + len(best)),
        float(any(best == set(range(first, end)) for first, end in lesson.runs)),
        len(gold & held) / len(gold),
        len(held) / len(lesson.sentences),
    )


def _load(file: Path) -> list[Row]:
    """The rows of a file; a last line that was half written is taken away."""
    if not file.is_file():
        return []
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        file.write_bytes(whole)
    found = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            found.append(Row(**json.loads(line)))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{file}:{number} is damaged: {error}", hint="remove the line") from error
    return found
