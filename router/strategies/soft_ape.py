"""soft:ape: every document whole, as keys and values of its segments, which were read each by itself and serve every
question (APE, arXiv 2502.05431).

What stands in another segment no segment knows of, and their order is lost; the question sees all of them. As long as
they are kept, reading a document takes the time of copying them.
"""

from __future__ import annotations

from dataclasses import replace

from turnout.compression.segment_kv import SegmentKv
from turnout.contracts import Engine, ReadsParallel, SegmentCache
from turnout.engines.parallel.kind import SCALE, TEMPERATURE, ParallelContext
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import whole
from turnout.router.cost import OUTSIDE_S, candidate
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.signals import Signals
from turnout.router.strategies.scans import NO_INSIDE
from turnout.types import Budget, Candidate, Context, Exclusion, Message, Question

NO_SHARING = "needs a model whose keys and values lie in pages and whose layers look at all of them"


class SoftApe:
    """As `full` in what is read, but no segment is read with another.

    Args:
        cache: keeps the keys and values.
        temperature, scale: see `ParallelContext`; of one segment they do not count: it is read as by `full`.
    """

    name = "soft:ape"

    def __init__(
        self, engine: Engine, cache: SegmentCache, *, temperature: float = TEMPERATURE, scale: float = SCALE
    ) -> None:
        self._engine, self._cache = engine, cache
        self._temperature, self._scale = temperature, scale

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """Reads the question over what is kept; before that the segments that are in no cache are read. What is kept is
        in memory twice while it is put in place. Never cut to a limit."""
        why = self._why_not()
        cold = signals.document_tokens if signals.kv_missing is None else signals.kv_missing
        kept_bytes = 0 if why else signals.document_tokens * self._of().made_with[1]

        def memory(prompt: int, new: int) -> int | None:
            needed = self._engine.memory_bytes(prompt, new)
            return None if needed is None else needed + kept_bytes

        found = candidate(
            self.name,
            estimate(self.name, signals, profile),
            signals.overhead_tokens + signals.document_tokens,
            signals,
            profile,
            memory,
            reasons=() if why else _reasons(signals, cold, kept_bytes, cold * profile.per_token_s),
            resident_tokens=signals.document_tokens,
            before_s=OUTSIDE_S["full"],
            once_s=cold * profile.per_token_s,
            scanned_tokens=cold,
        )
        return replace(found, excluded_by=Exclusion("unsupported", None, None, why)) if why else found

    def missing(self, corpus: Corpus) -> float | None:
        """The share of the documents that has to be read first; None where that is not looked up, because they would
        not fit the window anyway. Of questions for which a system says something, it may be all."""
        sizes = [segment.tokens_estimate for segment in corpus.segments]
        if self._why_not() or sum(sizes) > 2 * self._engine.model.window:
            return None
        missing = self._of().missing(corpus.segments)
        return sum(size for size, absent in zip(sizes, missing, strict=True) if absent) / max(sum(sizes), 1)

    def warm(self, corpus: Corpus) -> None:
        """Nothing: reading segments is time to answer, until somebody has done it."""

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """All documents, with the keys and values of their segments.

        Raises:
            Cancelled: the watch said so; what was read until then is kept.
        """
        kept = self._of(question.history)
        values = kept.of(corpus, watch)
        segments = tuple((segment.hash, value) for segment, value in zip(corpus.segments, values, strict=True))
        alone = len(segments) == 1
        return ParallelContext(
            whole(corpus),
            question.text,
            question.history,
            question.task,
            segments=segments,
            kind=kept.kind,
            temperature=1.0 if alone else self._temperature,
            scale=1.0 if alone else self._scale,
        )

    def _of(self, history: tuple[Message, ...] = ()) -> SegmentKv:
        if not isinstance(self._engine, ReadsParallel):
            raise ValueError(f"{self.name} {self._why_not()}")
        return SegmentKv(self._engine, self._cache, history)

    def _why_not(self) -> str:
        if not isinstance(self._engine, ReadsParallel):
            return NO_INSIDE
        return "" if self._engine.can_read_parallel() else NO_SHARING


def _reasons(signals: Signals, cold: int, kept_bytes: int, seconds: float) -> tuple[str, ...]:
    """What warm and cold mean here."""
    kept = signals.document_tokens - cold
    lines = [
        f"keys and values of {kept:,} of {signals.document_tokens:,} tokens are kept already, "
        f"of all of them {kept_bytes / 1e6:,.0f} MB"
    ]
    return (*lines, f"reading the others takes about {seconds:.1f} s, once") if cold else tuple(lines)
