"""What `rag:attention` and `rag:chunkfree` share: the reader itself reads the documents to find the passages."""

from __future__ import annotations

from dataclasses import replace

from turnout.contracts import Engine, ReadsToSearch, Retriever
from turnout.retrieval.corpus import Corpus
from turnout.router.profile import ModelProfile
from turnout.router.signals import Signals
from turnout.router.strategies.rag import PASSAGES, Rag
from turnout.router.strategies.scans import NO_INSIDE
from turnout.steps import Steps, done
from turnout.types import Budget, Candidate, Context, Exclusion, Question


class RagByReading(Rag):
    """As `rag`, over a search in which the model reads everything once for each question.

    Args:
        reader: None where the engine can't do it.
        retriever: never asked; it stands in where there is no `reader`.
        reads: tokens that the model reads for one of the documents, at most.
        at_once: tokens of which it has keys and values at once.
    """

    def __init__(
        self, engine: Engine, reader: ReadsToSearch | None, retriever: Retriever, *, reads: float, at_once: int
    ) -> None:
        super().__init__(engine, reader or retriever)
        self._reader = reader
        self._reads, self._at_once = reads, at_once

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """As `rag`'s, with the reading before the first word."""
        found = super().estimate(signals, profile, budget)
        return found if self._reader else replace(found, excluded_by=Exclusion("unsupported", None, None, NO_INSIDE))

    def prepare(self, question: Question, corpus: Corpus, budget: Budget) -> Context:
        """As `rag`'s."""
        return done(self.preparing(question, corpus, budget))

    def preparing(
        self, question: Question, corpus: Corpus, budget: Budget, namespace: str | None = None
    ) -> Steps[Context]:
        """As `prepare`, telling how much of the documents is read."""
        if self._reader is None:
            raise ValueError(f"{self.name} {NO_INSIDE}")
        passages = yield from self._reader.searching(question.standalone, corpus, PASSAGES, namespace)
        return self._context(passages, question, corpus, budget)

    def _before_s(self, signals: Signals, profile: ModelProfile) -> float:
        return self._reads * signals.document_tokens * profile.per_token_s

    def _memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int | None:
        """The larger of what the answer takes and what a window takes."""
        answer = super()._memory_bytes(prompt_tokens, new_tokens)
        window = super()._memory_bytes(self._at_once, 0)
        return answer if answer is None or window is None else max(answer, window)
