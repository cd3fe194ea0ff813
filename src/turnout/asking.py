"""What a caller may say of an answer beside its question, and what searches and compressors give. Frozen values, as
`types`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout.documents import DocumentInfo


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the answer is written, where the caller wants it otherwise than by default.

    `max_tokens` bounds the answer, None takes the task's own bound; `temperature` 0 is greedy; the answer ends before
    the first of the `stop` strings; `seed` makes sampling repeatable; `timeout_s` bounds the time that the model takes,
    and unlike a budget's limits it plays no part in the decision. Of what was read before only that of the same
    `cache_namespace` is used again, so that no time of an answer tells what other tenants have asked; None takes that
    of the `Turnout`.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    timeout_s: float | None = None
    cache_namespace: str | None = None


BETWEEN = "\n\n"
"""What stands between excerpts of one text where they are read together."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What is kept of a text: its characters [start, end), as they stand there."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found: text [start, end) of a document, with where it stands there.

    `score` orders the hits of one search, higher is better; `cosine` is its likeness to the question in meaning, None
    without an embedder.
    """

    document: DocumentInfo
    text: str
    start: int
    end: int
    score: float
    cosine: float | None = None
    page: int | None = None
    line: int | None = None
    place: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
