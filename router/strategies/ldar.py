"""rag:ldar: the band of the ranking by meaning that helps this reader most (LDAR, arXiv 2509.21865)."""

from __future__ import annotations

from dataclasses import replace

from turnout.contracts import Engine, Retriever
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.ldar import LdarRetriever
from turnout.retrieval.segment import MIN_TOKENS
from turnout.router.profile import ModelProfile
from turnout.router.signals import Signals
from turnout.router.strategies.rag import Rag
from turnout.types import Budget, Candidate, Context, Exclusion, Question

NO_POLICY = "needs an embedder and a policy that was trained for this model: turnout train ldar, TURNOUT_LDAR=FOLDER"


class RagLdar(Rag):
    """As `rag`, but how many passages are read, and whether the most similar ones are among them, a policy says.

    Args:
        ldar: with the policy; None where there is none for this engine.
        retriever: never asked; it stands in where there is no `ldar`.
        passage_tokens: most of the passages in a prompt; by default what the policy was trained with.
    """

    name = "rag:ldar"

    def __init__(
        self, engine: Engine, retriever: Retriever, ldar: LdarRetriever | None, passage_tokens: int | None = None
    ) -> None:
        most = passage_tokens if passage_tokens or ldar is None else ldar.policy.most_tokens
        super().__init__(engine, ldar or retriever, most)
        self._ldar = ldar

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """As `rag`'s, with the most that may be read: how much of it a question wants is known only after the search.
        Short documents may be read in part."""
        found, why = super().estimate(signals, profile, budget), self._why_not()
        return replace(found, excluded_by=Exclusion("unsupported", None, None, why)) if why else found

    def _read(self, signals: Signals, budget: Budget) -> tuple[int, bool]:
        return super()._read(signals, budget)[0], False

    def _why_not(self) -> str:
        if self._ldar is None:
            return NO_POLICY
        reader, model = self._ldar.policy.reader, self._engine.model.full_name
        return "" if reader in ("", model) else f"its policy was trained for {reader}, not for {model}"

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """The band, or as much of its upper end as fits; at least one passage, where any of the band fits alone."""
        # A segment is rarely under MIN_TOKENS: no more than these could fit.
        most = 2 * self._passage_tokens // MIN_TOKENS + 1
        passages = self._retriever.retrieve(question.standalone, corpus, most, watch)
        for first in range(len(passages)):
            context = self._context(passages[first:], question, corpus, budget)
            if context.parts:
                return context
        return self._context((), question, corpus, budget)
