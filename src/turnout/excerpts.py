"""What a question wants of texts that somebody else has found: the compressors, without any library or answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from turnout.asking import BETWEEN, Excerpt
from turnout.compression.selection import Target
from turnout.documents import Document, Span, Text
from turnout.errors import ConfigurationError, EngineError, ModelError, UnknownNameError
from turnout.retrieval.convert.formats import kind_of
from turnout.retrieval.segment import estimate_tokens, segment
from turnout.router.strategies.scans import Scan, by_draft, by_functions, by_reader, by_scorer
from turnout.types import Part

if TYPE_CHECKING:
    from turnout.parts import Parts
    from turnout.progress import Watch

BY_SENTENCES, BY_READER, BY_FUNCTIONS, BY_DRAFT = STRATEGIES = (
    "extract",
    "extract:exit",
    "extract:code",
    "extract:draft",
)

_LONE = re.compile("[\ud800-\udfff]")
"""Surrogates that readers of broken files leave: nothing can encode them."""


def excerpts(
    parts: Parts,
    question: str,
    texts: Sequence[str | Text],
    strategy: str,
    threshold: float | None,
    max_tokens: int | None,
    watch: Watch,
) -> list[tuple[Excerpt, ...]]:
    """See `Turnout.compress`."""
    if not question.strip():
        raise ConfigurationError("the question is empty", hint="say what the texts are asked")
    if threshold is not None and strategy in (BY_FUNCTIONS, BY_DRAFT):
        raise ConfigurationError(f"a threshold would change nothing of {strategy}", hint="give max_tokens")
    given = _texts(texts)
    readable = [replace(text, text=_readable(text.text)) for text in given]
    count = _count(parts)
    scan = _scan(parts, strategy, count)
    if scan.compressor is None:
        raise ConfigurationError(f"{strategy} {scan.why_not}", hint=f"use {BY_SENTENCES}, or a local model")
    target = Target(scan.threshold if threshold is None else threshold, max_tokens)
    pieces = [
        piece for number, text in enumerate(readable) for piece in _pieces(str(number), text, whole=scan.of_documents)
    ]
    found: list[list[Span]] = [[] for _ in given]
    for kept in scan.compressor.compress(_readable(question), pieces, target, watch):
        found[int(kept.span.document_id)].append(kept.span)
    return [
        tuple(
            Excerpt(text.text[span.start : span.end], span.start, span.end) for span in _saving(read.text, kept, count)
        )
        for text, read, kept in zip(given, readable, found, strict=True)
    ]


def asks_model(strategy: str) -> bool:
    """Whether it is the model that says what is kept."""
    return strategy in (BY_READER, BY_FUNCTIONS, BY_DRAFT)


def _texts(texts: Sequence[str | Text]) -> list[Text]:
    if isinstance(texts, str | Text):
        raise ConfigurationError("one text is given where several are expected", hint="give a list: [text]")
    given = [Text(text) if isinstance(text, str) else text for text in texts]
    if wrong := [text for text in given if not isinstance(text, Text)]:
        raise ConfigurationError(f"{wrong[0]!r:.60} is no text", hint="give text, or turnout.Text with a title")
    return given


def _readable(text: str) -> str:
    """The text as it can be encoded, character by character."""
    return _LONE.sub("\ufffd", text)


def _count(parts: Parts) -> Callable[[str], int]:
    """Tokens of the model, or estimated ones where it or its server is not here: sentences can be judged without it."""
    try:
        parts.engine.count_text("a")  # a server is not looked for before it has to count
    except (EngineError, ModelError):
        return estimate_tokens
    return parts.engine.count_text


def _scan(parts: Parts, strategy: str, count: Callable[[str], int]) -> Scan:
    match strategy:
        case "extract":
            return by_scorer(count, parts.scorer, parts.scores, parts.cuts)
        case "extract:exit":
            return by_reader(parts.engine, parts.scores, parts.cuts)
        case "extract:code":
            return by_functions(parts.engine, parts.scores)
        case "extract:draft":
            return by_draft(parts.engine, parts.scores)
    raise UnknownNameError("strategy", strategy, STRATEGIES)


def _pieces(name: str, text: Text, *, whole: bool) -> list[Part]:
    """A text as it is scored: whole, or by segments, so that scores are kept by them."""
    if whole:
        return [Part(text.text, Span(name, 0, len(text.text)), text.title)] if text.text.strip() else []
    kind = "code" if kind_of(text.title) == "code" else "text"
    document = Document(name, text.title, text.text, text.source, kind)
    spans = [each.span for each in segment(document)]
    return [Part(text.text[span.start : span.end], span, text.title) for span in spans]


def _saving(text: str, kept: Sequence[Span], count: Callable[[str], int]) -> Sequence[Span]:
    """What is kept; the whole text where that takes no more."""
    if kept and count(BETWEEN.join(text[span.start : span.end] for span in kept)) >= count(text):
        return (Span(kept[0].document_id, 0, len(text)),)
    return kept
