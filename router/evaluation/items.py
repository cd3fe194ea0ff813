"""Reading questions and documents, and what an evaluation needs to know of a question.

The files' format is described in schema.py.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from turnout.router.evaluation import json_lines
from turnout.router.evaluation.json_lines import BadRow, Malformed, OnBad
from turnout.router.evaluation.schema import ANSWER_TYPES, TASKS, Doc, Evidence, Item, parse_doc, parse_item

__all__ = [
    "ANSWER_TYPES",
    "TASKS",
    "Doc",
    "Evidence",
    "Item",
    "Malformed",
    "OnBad",
    "cluster",
    "new_tokens",
    "options",
    "prompt_question",
    "read_docs",
    "read_items",
    "with_documents",
]

_MARK = re.compile(r"\(?([A-Za-z])[.):](?![A-Za-z][.):])\s*(?=\S)")


def read_items(paths: Iterable[str | Path], on_bad: OnBad) -> list[Item]:
    """Reads questions, in the order of the files and their lines.

    Args:
        paths: .jsonl or .jsonl.gz files, or folders of them.
        on_bad: called for each line that can't be used; it may raise to stop the reading.

    Raises:
        ConfigurationError: a path does not exist or is of another kind.
    """
    items: dict[str, Item] = {}
    for file in json_lines.files(paths):
        for line, row in json_lines.objects(file, on_bad):
            try:
                item = parse_item(row, dataset=file.name.partition(".jsonl")[0], origin=f"{file}:{line}")
                if item.id in items:
                    raise BadRow(f"id {item.id!r} is already taken by {items[item.id].origin}")
                items[item.id] = item
            except BadRow as error:
                on_bad(Malformed(str(file), line, str(error)))
    return list(items.values())


def read_docs(paths: Iterable[str | Path], wanted: set[str] | None, on_bad: OnBad) -> dict[str, Doc]:
    """Reads documents by id; one that occurs twice with the same text is kept once.

    Args:
        paths: .jsonl or .jsonl.gz files, or folders of them.
        wanted: the ids to keep; None keeps all.
        on_bad: called for each line that can't be used; it may raise to stop the reading.

    Raises:
        ConfigurationError: a path does not exist or is of another kind.
    """
    docs: dict[str, Doc] = {}
    for file in json_lines.files(paths):
        for line, row in json_lines.objects(file, on_bad):
            try:
                doc = parse_doc(row, origin=f"{file}:{line}")
                if wanted is not None and doc.doc_id not in wanted:
                    continue
                if docs.setdefault(doc.doc_id, doc).text != doc.text:
                    raise BadRow(f"doc_id {doc.doc_id!r} is already taken by a document with another text")
            except BadRow as error:
                on_bad(Malformed(str(file), line, str(error)))
    return docs


def with_documents(items: Iterable[Item], docs: Mapping[str, Doc], on_bad: OnBad) -> list[Item]:
    """The questions whose documents are all there and whose evidence lies inside them; the others are reported.

    Where a question does not say how long its documents are, they are counted.
    """
    kept = []
    for item in items:
        try:
            _check_documents(item, docs)
        except BadRow as error:
            file, _, line = item.origin.rpartition(":")
            on_bad(Malformed(file, int(line or 0), str(error)))
            continue
        chars = item.context_chars or sum(len(docs[doc_id].text) for doc_id in item.doc_ids)
        kept.append(replace(item, context_chars=chars))
    return kept


def cluster(item: Item) -> str:
    """The unit that the bootstrap draws: the document, or the documents with the evidence, or a hash of all of them.

    Questions about the same text are not independent, so they are drawn together.
    """
    if len(item.doc_ids) == 1:
        return item.doc_ids[0]
    if item.evidence:
        return "+".join(sorted({evidence.doc_id for evidence in item.evidence}))
    return hashlib.sha256("\n".join(sorted(item.doc_ids)).encode()).hexdigest()[:12]


def options(item: Item) -> tuple[str, ...]:
    """The choices as the model sees them: on one line each, and without a letter of their own ("A.", "(A)", "A)").

    Letters are taken off only where the choices are lettered from A on, so that "E. coli" keeps its E.
    """
    lines = [" ".join(choice.split()) for choice in item.choices or ()]
    marks = [_MARK.match(line) for line in lines]
    letters = [mark.group(1).upper() for mark in marks if mark]
    lettered = len(letters) > 1 and marks[0] is not None and letters[0] == "A" and letters == sorted(set(letters))
    return tuple(line[mark.end() :] if mark and lettered else line for line, mark in zip(lines, marks, strict=True))


def prompt_question(item: Item) -> str:
    """The question as the model sees it: the choices follow as lines "A. ...", "B. ...".

    Retrieval searches for `item.question`, without them.
    """
    lines = [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options(item), strict=False)]
    return "\n".join([item.question, *lines])


def new_tokens(items: Iterable[Item]) -> dict[str, int]:
    """At most so many new tokens for each question's answer, by question id.

    A question without an answer is bounded as most others of its dataset are: a bound of its own would tell the router
    that the answer is not there.
    """
    bounds: dict[str, int] = {}
    of_dataset: dict[str, Counter[int]] = {}
    unanswerable = []
    for item in items:
        if item.answer_type == "unanswerable":
            unanswerable.append(item)
            continue
        bounds[item.id] = _bound(item)
        of_dataset.setdefault(item.dataset, Counter())[bounds[item.id]] += 1
    for item in unanswerable:
        common = of_dataset.get(item.dataset)
        bounds[item.id] = common.most_common(1)[0][0] if common else FEW
    return bounds


FEW, PROSE, SUMMARY = 48, 128, 256


def _bound(item: Item) -> int:
    if item.answer_type != "abstractive":
        return FEW
    return SUMMARY if item.task == "summarisation" else PROSE


def _check_documents(item: Item, docs: Mapping[str, Doc]) -> None:
    unknown = [doc_id for doc_id in item.doc_ids if doc_id not in docs]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise BadRow(f"unknown document {unknown[0]!r}{more}")
    for place, evidence in enumerate(item.evidence or ()):
        length = len(docs[evidence.doc_id].text)
        if evidence.end is not None and evidence.end > length:
            raise BadRow(
                f"evidence[{place}] ends at {evidence.end}, but document {evidence.doc_id!r} has {length} characters"
            )
