"""The questions of a run with their documents, as a run needs them: chosen, checked and converted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from turnout.documents import Document, Text
from turnout.errors import ConfigurationError, DocumentError
from turnout.progress import Progress
from turnout.retrieval.convert import convert_text
from turnout.retrieval.library import Library
from turnout.retrieval.pending import Pending
from turnout.router.evaluation import items as reading
from turnout.router.evaluation import json_lines, sets
from turnout.router.evaluation.items import Doc, Evidence, Item, Malformed, OnBad

COLLECTION = "evaluation"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is asked over what.

    Attributes:
        documents: by the questions' own ids; equal texts are one document.
        new_tokens: most for each question's answer, by question id.
        bad: what could not be used.
        hashes: SHA-256 of every file, in a fixed order, so that rows of different questions are never mixed.
    """

    items: tuple[Item, ...]
    documents: Mapping[str, Document]
    new_tokens: Mapping[str, int]
    bad: tuple[Malformed, ...]
    hashes: tuple[str, ...]


def load(
    questions: Sequence[str | Path],
    documents: Sequence[str | Path],
    on_bad: OnBad,
    *,
    limit: int | None = None,
    question_set: str | None = None,
    seed: int = 0,
) -> Inputs:
    """Reads questions and documents, and chooses by limit or by set.

    Args:
        on_bad: called for each row that can't be used; it is passed over.
        limit: questions per dataset, among those that can be asked.

    Raises:
        ConfigurationError: a path is not there, the choice is contradictory, or no question is left.
    """
    if limit is not None and question_set is not None:
        raise ConfigurationError(
            f"limit {limit} and set {question_set!r} exclude each other", hint="a set is a fixed list: leave one out"
        )
    bad: list[Malformed] = []

    def note(malformed: Malformed) -> None:
        bad.append(malformed)
        on_bad(malformed)

    every = reading.read_items(questions, note)
    asked = every
    if question_set is not None:
        asked = sets.pick(every, sets.load_set(question_set), note if bad else None)
    docs = reading.read_docs(documents, {i for item in asked for i in item.doc_ids}, note)
    asked = reading.with_documents(asked, docs, note)
    if limit is not None:
        asked = sets.select(asked, limit, seed)
    converted = _converted(docs, asked, note)
    kept = [_placed(item, docs, converted) for item in asked if all(i in converted for i in item.doc_ids)]
    if not kept:
        reason = f", the first of {len(bad)} malformed rows: {bad[0]}" if bad else ""
        raise ConfigurationError(f"no question that can be asked{reason}", hint="check the files given")
    hashes = sorted(_hash(file) for file in json_lines.files([*questions, *documents]))
    needed = {i: converted[i] for item in kept for i in item.doc_ids}
    return Inputs(tuple(kept), needed, reading.new_tokens(every), tuple(bad), tuple(hashes))


def keep(library: Library, documents: Iterable[Document], progress: Progress) -> None:
    """Segments and embeds the documents into a library of their own; what is there already costs little."""
    library.add_many(
        map(Pending, {document.id: document for document in documents}.values()),
        collection=COLLECTION,
        progress=lambda done, total: progress("embedding", done, total),
    )


def _converted(docs: Mapping[str, Doc], items: Iterable[Item], note: OnBad) -> dict[str, Document]:
    converted: dict[str, Document] = {}
    for doc_id in dict.fromkeys(i for item in items for i in item.doc_ids):
        doc = docs[doc_id]
        try:
            converted[doc_id] = convert_text(Text(doc.text, doc.title or doc_id, source=doc_id))
        except DocumentError as error:
            file, _, line = doc.origin.rpartition(":")
            note(Malformed(file, int(line or 0), f"document {doc_id!r} {error.reason}"))
    return converted


def _placed(item: Item, docs: Mapping[str, Doc], converted: Mapping[str, Document]) -> Item:
    """The item with its evidence where it stands in the converted text: reading unifies line ends, which moves what
    follows them. Evidence that can't be placed is left out."""
    placed: list[Evidence] = []
    for evidence in item.evidence or ():
        before, text = docs[evidence.doc_id].text, converted[evidence.doc_id].text
        start, end = evidence.start, evidence.end
        # Spans too long for the data to repeat them are taken from the text itself.
        words = evidence.text if evidence.text is not None or start is None else before[start:end]
        if start is not None and text == before and words in (None, text[start:end]):
            placed.append(evidence)
            continue
        unified = (words or "").replace("\r\n", "\n").replace("\r", "\n")
        found = text.find(unified) if unified else -1
        if found >= 0:
            placed.append(replace(evidence, start=found, end=found + len(unified)))
    return replace(item, evidence=tuple(placed) or None)


def _hash(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()[:16]
