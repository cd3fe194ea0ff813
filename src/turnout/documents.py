"""The words for what is read: documents, places in them, and the pieces that are searched and cached. Standard library
only.

Everything here is a frozen value. Offsets are characters of the untouched document text, `start` inclusive and `end`
exclusive.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    """A document given as text. `metadata`, of JSON values, is found again by `search`; no model reads it."""

    text: str
    title: str = "text"
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an offset stands, in the source's own terms. `page` and `line` count from 1.

    `line` counts within the page where the document has pages, otherwise within the document.
    """

    label: str
    line: int
    page: int | None = None
    heading: str = ""

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document without its text: what `add` returns, `ask` takes and an answer cites.

    `pages` is 0 where the source has none; `notes` say what conversion could not read.
    """

    id: str
    title: str
    source: str
    pages: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """Converted text, never altered after conversion.

    `id` is a SHA-256 over kind, text and page starts, so equal content has one identity. `pages[i]` is the offset at
    which page i + 1 begins; empty where the source has no pages.
    """

    id: str
    title: str
    text: str
    source: str
    kind: str
    pages: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def info(self) -> DocumentInfo:
        """The document without its text."""
        return DocumentInfo(self.id, self.title, self.source, len(self.pages), self.notes)

    def place(self, offset: int) -> Place:
        """Names the place of a character offset: "msa.pdf p.14 l.22", "app.py:12", "notes.md l.3"."""
        page, begin = None, 0
        if self.pages:
            page = max(1, bisect.bisect_right(self.pages, offset))
            begin = self.pages[page - 1]
        line = self.text.count("\n", begin, offset) + 1
        if page is not None:
            return Place(f"{self.title} p.{page} l.{line}", line, page)
        if self.kind == "code":
            return Place(f"{self.source or self.title}:{line}", line)
        heading = _heading_before(self.text, offset) if self.kind in _CONVERTED else ""
        if heading:
            return Place(f'{self.title} "{heading}" l.{line}', line, heading=heading)
        return Place(f"{self.title} l.{line}", line)


# Kinds whose lines are ours and not the source's: there the heading is what a reader can look up.
_CONVERTED = frozenset({"docx", "html"})


def _heading_before(text: str, offset: int) -> str:
    end = text.find("\n", offset)
    for line in reversed(text[: end if end >= 0 else len(text)].splitlines()):
        if line.startswith("#") and line.lstrip("#").startswith(" "):
            return line.lstrip("#").strip()
    return ""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one document: characters [start, end)."""

    document_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A span with an identity: SHA-256 of its untouched text, after its collection's salt where that is kept apart. The
    unit that is embedded, scored and cached."""

    span: Span
    hash: str
    tokens_estimate: int


@dataclass(frozen=True, slots=True)
class SegmentKey:
    """Names what a segment cache keeps: `segment` is the SHA-256 of the segment's untouched text, `kind` what the value
    is, such as "scores/<hash of the question>", and `fingerprint` that of the model, and all else, it was made with."""

    segment: str
    kind: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Passage:
    """What a retriever returns: a span with its text and score (higher is better, comparable within one call)."""

    span: Span
    text: str
    score: float


def title_of(source: str) -> str:
    """The short name of a source: the file name of a path, else the source itself."""
    return PurePath(source).name or source
