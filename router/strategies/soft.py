"""soft: every document whole, as soft tokens that were made once and serve every question (CompLLM, arXiv 2509.19228).

Made for the first time they cost more than reading the text: they are for documents that are asked again and again.
"""

from __future__ import annotations

import math
from dataclasses import replace

from turnout.compression.soft import SoftTokens
from turnout.contracts import Engine, SegmentCache, Softens
from turnout.engines.soft.kind import MEAN, PIECE_TOKENS, SoftContext, SoftKind
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import whole
from turnout.router.cost import OUTSIDE_S, candidate
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.signals import Signals
from turnout.router.strategies.rapid import NO_PAGES
from turnout.router.strategies.scans import NO_INSIDE
from turnout.types import Budget, Candidate, Context, Exclusion, Question

ENDS = 1 / (2 * PIECE_TOKENS)
"""Soft tokens more than a document's tokens over the rate, for each of its tokens: the last group of a sentence is
rarely full. A guess."""

UNABLE = SoftKind("", 2, 1, "float32", "")


class Soft:
    """As `full` in what it is given, at a half or a quarter of the positions.

    Args:
        cache: keeps the soft tokens.
    """

    name = "soft"
    quotable = False

    def __init__(self, engine: Engine, cache: SegmentCache) -> None:
        self._engine = engine
        self._tokens = SoftTokens(engine, cache) if isinstance(engine, Softens) else None

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """Reads all soft tokens; before that those that are in no cache are made. Never cut to a limit."""
        why = self._why_not()
        kind = UNABLE if why else self._kind()
        cold = signals.document_tokens if signals.soft_missing is None else signals.soft_missing
        reads = kind.reads(cold)
        found = candidate(
            self.name,
            estimate(self.name, signals, profile),
            signals.overhead_tokens + prompt_tokens(signals.document_tokens, kind.rate),
            signals,
            profile,
            self._engine.memory_bytes,
            reasons=() if why else _reasons(kind, signals, cold, reads * profile.per_token_s),
            before_s=OUTSIDE_S["full"],
            once_s=reads * profile.per_token_s,
            scanned_tokens=reads,
        )
        return replace(found, excluded_by=Exclusion("unsupported", None, None, why)) if why else found

    def missing(self, corpus: Corpus) -> float | None:
        """The share of the documents whose soft tokens have to be made first; None where that is not looked up, because
        they would not fit the window anyway."""
        sizes = [segment.tokens_estimate for segment in corpus.segments]
        if self._tokens is None or self._why_not() or sum(sizes) > 2 * self._kind().rate * self._engine.model.window:
            return None
        missing = self._tokens.missing(corpus.segments)
        return sum(size for size, absent in zip(sizes, missing, strict=True) if absent) / max(sum(sizes), 1)

    def warm(self, corpus: Corpus) -> None:
        """Nothing: making soft tokens is time to answer, until somebody has done it."""

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """All documents, first to last, with the soft tokens of their segments.

        Raises:
            Cancelled: the watch said so; what was made until then is kept.
        """
        if self._tokens is None:
            raise ValueError(f"soft {self._why_not()}")
        parts = whole(corpus)
        made: dict[str, list[bytes]] = {part.span.document_id: [] for part in parts}
        for segment, value in zip(corpus.segments, self._tokens.of(corpus, watch), strict=True):
            made[segment.span.document_id].append(value)
        return SoftContext(
            parts,
            question.text,
            question.history,
            question.task,
            soft=tuple(tuple(made[part.span.document_id]) for part in parts),
            kind=self._kind(),
        )

    def _kind(self) -> SoftKind:
        return self._engine.soft_kind() if isinstance(self._engine, Softens) else UNABLE

    def _why_not(self) -> str:
        if not isinstance(self._engine, Softens):
            return NO_INSIDE
        return "" if self._engine.can_soften() else NO_PAGES


def prompt_tokens(document_tokens: int, rate: int) -> int:
    """Soft tokens of documents, about."""
    return math.ceil(document_tokens * (1 / rate + (ENDS if rate > 1 else 0)))


def _reasons(kind: SoftKind, signals: Signals, cold: int, seconds: float) -> tuple[str, ...]:
    """What warm and cold mean here."""
    lines = [
        f"soft tokens of {signals.document_tokens - cold:,} of {signals.document_tokens:,} tokens are kept already"
    ]
    if seconds:
        lines.append(f"making the others takes about {seconds:.1f} s, once")
    if kind.name == MEAN:
        lines.append("soft tokens are plain means of embeddings: nothing is trained")
    return tuple(lines)
