"""rapid: the model reads every document whole, and what it writes is drafted by a reader of the passages that match
(RAPID, arXiv 2502.20330). It pays where attention to a long context takes most of a token's time."""

from __future__ import annotations

from dataclasses import replace

from turnout.contracts import Drafts, Engine, Retriever
from turnout.engines.speculative.pace import RAPID_RATE, chain, fastest, tokens
from turnout.engines.speculative.plan import DraftedContext, Speculation
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import in_document_order, whole
from turnout.retrieval.segment import MIN_TOKENS
from turnout.router.cost import OUTSIDE_S, candidate
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.signals import Signals
from turnout.router.strategies.scans import NO_INSIDE
from turnout.types import Budget, Candidate, Context, Exclusion, Part, Question

LEAST_CONTEXT = 32_000
"""Tokens of documents from which drafting makes anything faster, in the paper."""

LEAST_ANSWER = 64
"""Expected tokens of an answer, rounded up from the about 50 under which reading a second prompt is not won back."""

DRAFT_TOKENS = (4096, 16_384)
"""Tokens of passages, at least and at most: the paper reads 4,096 or a 24th of the documents, and loses over 16k."""

DRAFT_SHARE = 1 / 24

STEERED = Speculation("steered", eta=5.0, gamma=4)
"""For a model that drafts for itself the paper has eta 5 to 20; large ones overshoot."""

NO_PAGES = "needs a model whose keys and values lie in pages"
NOTHING_FOUND = "retrieval found nothing to draft from: the model wrote alone, as full"


class Rapid:
    """As `full` in what is read, and lossless in what is written too; as `rapid:steered` an ensemble of both readers.

    Args:
        how: lossless or steered.
        least_context, least_answer: tokens under which it is no candidate.
    """

    def __init__(
        self,
        engine: Engine,
        retriever: Retriever,
        how: Speculation | None = None,
        *,
        least_context: int = LEAST_CONTEXT,
        least_answer: int = LEAST_ANSWER,
    ) -> None:
        self._how = how or Speculation()
        self.name = "rapid:steered" if self._how.steers else "rapid"
        self._engine, self._retriever = engine, retriever
        self._least_context, self._least_answer = least_context, least_answer

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """As `full`'s, with the drafter's prompt before the first word and a token's seconds by `speedup`. What is
        lossless is as good as `full` until it is measured itself."""
        drafted = signals.overhead_tokens + _draft_tokens(signals.document_tokens)
        rate = self._rate(signals, profile)
        gain = speedup(self._how, signals.full_tokens, drafted, profile, RAPID_RATE if rate is None else rate)
        known = profile.quality is not None and profile.quality.knows(self.name)
        told = (
            f"drafting is a guess, {gain:.1f}x: not measured yet"
            if rate is None
            else f"{rate:.0%} of what was drafted before came true, so that drafting is expected to gain {gain:.1f}x"
        )
        found = candidate(
            self.name,
            estimate(self.name if known or self._how.steers else "full", signals, profile),
            signals.full_tokens,
            signals,
            profile,
            lambda prompt, new: self._engine.memory_bytes(prompt + drafted + new, new),
            reasons=(told,),
            resident_tokens=signals.resident_tokens,
            before_s=OUTSIDE_S["rag"] + profile.prefill_seconds(drafted),
            speedup=gain,
        )
        why = self._why_not(signals)
        return replace(found, excluded_by=Exclusion("unsupported", None, None, why)) if why else found

    def _rate(self, signals: Signals, profile: ModelProfile) -> float | None:
        """Of drafted tokens that come true if those before them do: over these documents, else with this model; None
        where neither is known."""
        here = None if self._how.steers else signals.agreement
        return profile.agreement.get(self.name) if here is None else here

    def _why_not(self, signals: Signals) -> str:
        if not isinstance(self._engine, Drafts):
            return NO_INSIDE
        if not self._engine.can_draft():
            return NO_PAGES
        if signals.document_tokens < self._least_context:
            return f"for long documents: {signals.document_tokens:,} tokens, from {self._least_context:,} on it pays"
        if signals.expected_new_tokens < self._least_answer:
            expected = signals.expected_new_tokens
            return f"for long answers: {expected} tokens are expected, from {self._least_answer} on it pays"
        return ""

    def warm(self, corpus: Corpus) -> None:
        """Loads the embedder and indexes the corpus."""
        self._retriever.warm(corpus)

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """All documents untouched, and for the drafter the best passages in document order; none where nothing is
        found."""
        tokens = sum(segment.tokens_estimate for segment in corpus.segments)
        most = _draft_tokens(tokens)
        passages = self._retriever.retrieve(question.standalone, corpus, max(most // MIN_TOKENS, 1))

        def fits(parts: list[Part]) -> bool:
            return sum(self._engine.count_text(part.text) for part in parts) <= most

        draft = in_document_order(passages, corpus, fits)
        return DraftedContext(whole(corpus), question.text, question.history, question.task, draft=draft, how=self._how)


def _draft_tokens(document_tokens: int) -> int:
    least, most = DRAFT_TOKENS
    return min(max(int(DRAFT_SHARE * document_tokens), least), most, document_tokens)


def speedup(
    how: Speculation, target_tokens: int, draft_tokens: int, profile: ModelProfile, rate: float = RAPID_RATE
) -> float:
    """Tokens of a second over those of plain decoding, with as many drafted in a round as are best: E / (1 + k c), with
    E as in `pace`, c the drafter's step over the target's, and a verifying step counted as a plain one.

    Args:
        rate: of drafted tokens that come true if those before them do.
    """
    share = profile.decode_seconds(draft_tokens, 1) / profile.decode_seconds(target_tokens, 1)
    best = fastest(chain(rate, how.gamma), 1.0, share, least=int(how.steers))
    return tokens(rate, best) / (1 + best * share)


def fell_back(context: Context) -> str:
    """Why a context of `rapid` is read as that of `full`; "" where it is not."""
    return NOTHING_FOUND if isinstance(context, DraftedContext) and not context.draft else ""
