"""full: every document whole, in the order given."""

from __future__ import annotations

from turnout.contracts import Engine
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import whole
from turnout.router.cost import candidate
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.signals import Signals
from turnout.types import Budget, Candidate, Context, Question


class Full:
    """Gives the model everything. Nothing is ever cut: what does not fit excludes itself."""

    name = "full"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """Reads `signals.full_tokens`; quality by kind of question and length."""
        return candidate(
            self.name,
            estimate(self.name, signals, profile),
            signals.full_tokens,
            signals,
            profile,
            self._engine.memory_bytes,
            resident_tokens=signals.resident_tokens,
            surely_resident_tokens=signals.surely_resident_tokens,
        )

    def warm(self, corpus: Corpus) -> None:
        """Nothing: no index and no embedder are needed."""

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """All documents, untouched, first to last."""
        return Context(whole(corpus), question.text, question.history, question.task)
