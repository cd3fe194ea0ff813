"""rag:attention: the passages that the reader itself looks at, in document order (InfiniRetri, arXiv 2502.12962)."""

from __future__ import annotations

from dataclasses import replace

from turnout.contracts import Attends, Engine, Retriever
from turnout.retrieval.attention import KEPT_TOKENS, WINDOW_TOKENS, AttentionRetriever
from turnout.router.profile import ModelProfile
from turnout.router.signals import Signals
from turnout.router.strategies.rag import Rag
from turnout.router.strategies.scans import NO_INSIDE
from turnout.types import Budget, Candidate, Exclusion

READS = 1 + KEPT_TOKENS / WINDOW_TOKENS
"""Tokens that the reader reads for one of the documents, at most: each window comes after what was kept."""


class RagByAttention(Rag):
    """As `rag`, over a search in which the model reads everything once for each question.

    Args:
        retriever: never asked; it stands in where the engine can't show its attention.
    """

    name = "rag:attention"

    def __init__(self, engine: Engine, retriever: Retriever, passage_tokens: int | None = None) -> None:
        self._is_able = isinstance(engine, Attends)
        inside = AttentionRetriever(engine) if isinstance(engine, Attends) else retriever
        super().__init__(engine, inside, passage_tokens)

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """As `rag`'s, with the reading before the first word."""
        found = super().estimate(signals, profile, budget)
        return found if self._is_able else replace(found, excluded_by=Exclusion("unsupported", None, None, NO_INSIDE))

    def _before_s(self, signals: Signals, profile: ModelProfile) -> float:
        return READS * signals.document_tokens * profile.per_token_s

    def _memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int | None:
        """The larger of what the answer takes and what a window takes."""
        answer = super()._memory_bytes(prompt_tokens, new_tokens)
        window = super()._memory_bytes(WINDOW_TOKENS + KEPT_TOKENS, 0)
        return answer if answer is None or window is None else max(answer, window)
