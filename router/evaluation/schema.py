"""Questions with known answers, and the documents they are asked about.

A question is one JSON object on a line of a .jsonl or .jsonl.gz file:

    {"id": "q1", "question": "When does it end?", "answers": ["31 May", "May 31"], "doc_ids": ["lease"]}

and a document is another:

    {"doc_id": "lease", "text": "This lease ends on ..."}

That is all that is needed. Unknown fields are ignored; `answers` is [] where the documents do not hold the answer. What
else a question may have, and what it is without:

    answer_type    extractive | abstractive | choice | unanswerable | number | list: decides the metric and the cap on
                   new tokens. Without it: unanswerable if `answers` is [], choice if there are `choices`, else
                   abstractive
    choices        the options of a choice question; answers[0] is one of them
    task           location | reasoning | comparison | hallucination | summarisation. Without it: hallucination if the
                   answer_type is unanswerable, else location
    hop            single-hop | multi-hop | aggregation | summarisation, or a word of your own. Without it: single-hop
    dataset        the group that scores are averaged in. Without it: the file's name
    evidence       [{doc_id, start, end, text}]: where the answer stands, in characters of the document's text, `end`
                   excluded; start and end may both be null if `text` is given. Without it citations are not scored
    context_chars  characters of all documents together. Without it: counted
    core           true for the questions that a small sample should take first. Without it: false
    meta           an object with anything else

A document may also have `title` (without it: its id) and `source`. Documents may lie in any of the files given.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout.router.evaluation.json_lines import BadRow, of_type, text, texts
from turnout.router.questions import TASKS as VISIBLE_TASKS

ANSWER_TYPES = ("extractive", "abstractive", "choice", "unanswerable", "number", "list")
TASKS = (*VISIBLE_TASKS, "hallucination")
"""LaRA's four task kinds (arXiv 2502.09977), and summarisation."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where an answer stands: characters start to end of the document's text, or only the words (offsets None)."""

    doc_id: str
    start: int | None
    end: int | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its accepted answers; the fields are those of the file, see above.

    Attributes:
        origin: "FILE:LINE" that it was read from.
    """

    id: str
    dataset: str
    task: str
    hop: str
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] | None
    answer_type: str
    doc_ids: tuple[str, ...]
    evidence: tuple[Evidence, ...] | None
    context_chars: int
    core: bool
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    origin: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Doc:
    """One document, and the "FILE:LINE" that it was read from."""

    doc_id: str
    title: str
    text: str
    source: str
    origin: str = field(default="", compare=False)


def parse_item(row: Mapping[str, Any], dataset: str, origin: str) -> Item:
    """A question from a line's object.

    Args:
        dataset: the dataset of a question that does not name one.
        origin: "FILE:LINE" of the line.

    Raises:
        BadRow: a field is missing or wrong.
    """
    choices = texts(row, "choices")
    answers = texts(row, "answers")
    answer_type = text(row, "answer_type", _default_type(answers, choices))
    if answer_type not in ANSWER_TYPES:
        raise BadRow(f"unknown answer_type {answer_type!r}; known: {', '.join(ANSWER_TYPES)}")
    task = text(row, "task", "hallucination" if answer_type == "unanswerable" else "location")
    if task not in TASKS:
        raise BadRow(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    if answers is None and answer_type != "unanswerable":
        raise BadRow("answers is missing")
    if not answers and answer_type != "unanswerable":
        raise BadRow(f"answers is empty, but answer_type is {answer_type}")
    _check_choices(answer_type, choices, answers or ())
    doc_ids = texts(row, "doc_ids")
    if not doc_ids:
        raise BadRow("doc_ids is missing" if doc_ids is None else "doc_ids is empty")
    if len(set(doc_ids)) < len(doc_ids):
        raise BadRow("doc_ids names a document twice")
    context_chars = of_type(row, "context_chars", int, 0)
    if context_chars < 0:
        raise BadRow(f"context_chars is {context_chars}")
    return Item(
        id=text(row, "id"),
        dataset=text(row, "dataset", dataset),
        task=task,
        hop=text(row, "hop", "single-hop"),
        question=text(row, "question"),
        answers=answers or (),
        choices=choices or None,
        answer_type=answer_type,
        doc_ids=doc_ids,
        evidence=_evidence(row, doc_ids),
        context_chars=context_chars,
        core=of_type(row, "core", bool, False),
        meta=of_type(row, "meta", dict, {}),
        origin=origin,
    )


def parse_doc(row: Mapping[str, Any], origin: str = "") -> Doc:
    """A document from a line's object.

    Args:
        origin: "FILE:LINE" that it was read from.

    Raises:
        BadRow: a field is missing or wrong.
    """
    doc_id = text(row, "doc_id")
    return Doc(doc_id, text(row, "title", doc_id), text(row, "text"), text(row, "source", ""), origin)


def _default_type(answers: tuple[str, ...] | None, choices: tuple[str, ...] | None) -> str:
    if answers == ():
        return "unanswerable"
    return "choice" if choices else "abstractive"


def _check_choices(answer_type: str, choices: tuple[str, ...] | None, answers: tuple[str, ...]) -> None:
    if answer_type == "choice":
        if not choices:
            raise BadRow("a choice question without choices")
        if answers[0] not in choices:
            raise BadRow(f"answers[0] {answers[0]!r} is not among the choices")
    if choices and len(choices) > len(string.ascii_uppercase):
        raise BadRow(f"{len(choices)} choices; at most {len(string.ascii_uppercase)} can be lettered")
    if choices and len(set(choices)) < len(choices):
        raise BadRow("choices names an option twice")


def _evidence(row: Mapping[str, Any], doc_ids: tuple[str, ...]) -> tuple[Evidence, ...] | None:
    found = []
    for place, entry in enumerate(of_type(row, "evidence", list, [])):
        if not isinstance(entry, dict):
            raise BadRow(f"evidence[{place}] must be an object")
        try:
            evidence = _one_evidence(entry, doc_ids)
        except BadRow as error:
            raise BadRow(f"evidence[{place}]: {error}") from error
        found.append(evidence)
    return tuple(found) or None


def _one_evidence(entry: Mapping[str, Any], doc_ids: tuple[str, ...]) -> Evidence:
    start, end = of_type(entry, "start", int, None), of_type(entry, "end", int, None)
    quote = None if entry.get("text") is None else text(entry, "text")
    if (start is None) != (end is None):
        raise BadRow("one of start and end is missing")
    if start is None and quote is None:
        raise BadRow("neither start and end nor text")
    if start is not None and not 0 <= start < end:
        raise BadRow(f"start {start} and end {end} are no span")
    doc_id = text(entry, "doc_id")
    if doc_id not in doc_ids:
        raise BadRow(f"doc_id {doc_id!r} is not among the question's doc_ids")
    return Evidence(doc_id, start, end, quote)
