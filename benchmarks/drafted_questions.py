"""Questions of the development data over the text around their evidence, and what a drafter of their answers reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dev_data

from turnout.documents import Span
from turnout.engines.local import LocalEngine
from turnout.types import Part

DRAFT_TOKENS = 512
"""Of the paragraphs that a drafter reads, at most."""


@dataclass(frozen=True)
class Asked:
    """One question.

    Attributes:
        part: of its document, with the evidence in the middle.
        draft: the paragraphs of it that share most words with the question.
    """

    dataset: str
    question: str
    answers: tuple[str, ...]
    part: Part
    draft: tuple[Part, ...]


def asked(engine: LocalEngine, sets: Sequence[str], questions: int, tokens: int) -> list[Asked]:
    """As many questions of each set, the first one of each document with an answer and evidence.

    Args:
        tokens: of a document at most.
    """
    found: list[Asked] = []
    for place, dataset in enumerate(sets, 1):
        missing = questions * place // len(sets) - len(found)
        found += [each for each, _ in zip(_of_set(engine, dataset, tokens), range(missing), strict=False)]
    if not found:
        raise SystemExit("no question was found; nothing was measured")
    return found


def _of_set(engine: LocalEngine, dataset: str, tokens: int) -> Iterator[Asked]:
    texts, seen = dev_data.documents(dataset), set()
    for row in dev_data.questions(dataset):
        document = row["doc_ids"][0]
        if document not in seen and row["evidence"] and row["answers"]:
            seen.add(document)
            start, text = _cut(engine, texts[document]["text"], row["evidence"][0]["start"], tokens)
            part = Part(text, Span(document, start, start + len(text)))
            draft = _passages(engine, part, row["question"])
            yield Asked(dataset, row["question"], tuple(row["answers"]), part, draft)


def _cut(engine: LocalEngine, text: str, place: int, tokens: int) -> tuple[int, str]:
    """(start, what begins there) of about `tokens` tokens of a text at most, with `place` in their middle."""
    size = len(text)
    while True:
        start = max(min(place - size // 2, len(text) - size), 0)
        piece = text[start : start + size]
        have = engine.count_text(piece)
        if have <= tokens:
            return start, piece
        size = min(size * tokens // have, size - 1)


def _passages(engine: LocalEngine, part: Part, question: str) -> tuple[Part, ...]:
    """The paragraphs that have most of the question's longer words, in the order of the text; one at least."""
    words = {word.lower() for word in question.split() if len(word) > 3}
    paragraphs, at = [], 0
    for text in part.text.split("\n"):
        if text.strip():
            paragraphs.append((-len(words & set(text.lower().split())), at, text))
        at += len(text) + 1
    found: list[Part] = []
    left = DRAFT_TOKENS
    for _, begin, text in sorted(paragraphs):
        left -= engine.count_text(text)
        if left < 0 and found:
            break
        start = part.span.start + begin
        found.append(Part(text, Span(part.span.document_id, start, start + len(text))))
    return tuple(sorted(found, key=lambda each: each.span.start))
