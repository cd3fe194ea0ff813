"""What `rag:attention` and `rag:chunkfree` share: the reader itself reads the documents to find the passages."""

from __future__ import annotations

from dataclasses import replace

from turnout.contracts import Engine, Retriever
from turnout.router.profile import ModelProfile
from turnout.router.signals import Signals
from turnout.router.strategies.rag import Rag
from turnout.router.strategies.scans import NO_INSIDE
from turnout.types import Budget, Candidate, Exclusion


class RagByReading(Rag):
    """As `rag`, over a search in which the model reads everything once for each question.

    Args:
        reader: searches with the engine; None where the engine can't do it.
        retriever: never asked; it stands in where there is no `reader`.
        passage_tokens: see `Rag`.
        reads: tokens that the model reads for one of the documents, at most.
        at_once: tokens of which it has keys and values at once.
    """

    def __init__(
        self,
        engine: Engine,
        reader: Retriever | None,
        retriever: Retriever,
        passage_tokens: int | None,
        *,
        reads: float,
        at_once: int,
    ) -> None:
        super().__init__(engine, reader or retriever, passage_tokens)
        self._is_able = reader is not None
        self._reads, self._at_once = reads, at_once

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """As `rag`'s, with the reading before the first word."""
        found = super().estimate(signals, profile, budget)
        return found if self._is_able else replace(found, excluded_by=Exclusion("unsupported", None, None, NO_INSIDE))

    def _scanned_tokens(self, signals: Signals) -> int:
        return round(self._reads * signals.document_tokens)

    def _memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int | None:
        """The larger of what the answer takes and what a window takes."""
        answer = super()._memory_bytes(prompt_tokens, new_tokens)
        window = super()._memory_bytes(self._at_once, 0)
        return answer if answer is None or window is None else max(answer, window)
