"""rag: the passages that match the question, in document order (OP-RAG, arXiv 2409.01666)."""

from __future__ import annotations

from collections.abc import Sequence

from turnout.contracts import Engine, Retriever
from turnout.documents import Passage
from turnout.progress import Watch
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.merge import in_document_order
from turnout.retrieval.segment import MAX_TOKENS
from turnout.router.cost import candidate
from turnout.router.profile import ModelProfile
from turnout.router.quality import estimate
from turnout.router.questions import new_tokens
from turnout.router.signals import Signals
from turnout.types import Budget, Candidate, Context, Part, Question

PASSAGE_TOKENS = 1000
"""Tokens of passages in a prompt, by default: about five segments. LaRA's retrieval arm keeps five chunks of 600."""

SEGMENT_TOKENS = MAX_TOKENS
"""The least that is worth reading: one segment. Where it does not fit, rag excludes itself."""

PASSAGES = 24
"""Most passages asked of the retriever; the token budget decides how many of them are read."""


class Rag:
    """Searches, keeps the best passages that fit the budget, restores their order and joins neighbours.

    Args:
        passage_tokens: most of the passages in a prompt; PASSAGE_TOKENS by default.
    """

    name = "rag"

    def __init__(self, engine: Engine, retriever: Retriever, passage_tokens: int | None = None) -> None:
        self._engine = engine
        self._retriever = retriever
        self._passage_tokens = passage_tokens or PASSAGE_TOKENS

    def estimate(self, signals: Signals, profile: ModelProfile, budget: Budget) -> Candidate:
        """Reads what fits of the window, the passage budget and `max_prompt_tokens`, and at least one segment; short
        documents are read whole either way."""
        read, whole = self._read(signals, budget)
        scanned = self._scanned_tokens(signals)
        return candidate(
            self.name,
            estimate("full" if whole else self.name, signals, profile),
            signals.overhead_tokens + read,
            signals,
            profile,
            self._memory_bytes,
            before_s=scanned * profile.per_token_s,
            scanned_tokens=scanned,
        )

    def _read(self, signals: Signals, budget: Budget) -> tuple[int, bool]:
        """Tokens of documents in a prompt, and whether they are all of them."""
        room = signals.window - signals.overhead_tokens - signals.max_new_tokens
        if budget.max_prompt_tokens is not None:
            room = min(room, budget.max_prompt_tokens - signals.overhead_tokens)
        # In a prompt a text may take more than its own tokens: its sentences are numbered, or it is read in pieces.
        text = signals.full_tokens - signals.overhead_tokens
        usual, least = (
            -(-tokens * text // max(signals.document_tokens, 1)) for tokens in (self._passage_tokens, SEGMENT_TOKENS)
        )
        read = min(text, max(min(room, usual), least))
        return read, read >= text

    def _scanned_tokens(self, signals: Signals) -> int:
        """Tokens that the model itself reads to search."""
        return 0

    def _memory_bytes(self, prompt_tokens: int, new_tokens: int) -> int | None:
        return self._engine.memory_bytes(prompt_tokens, new_tokens)

    def warm(self, corpus: Corpus) -> None:
        """Loads the embedder and indexes the corpus."""
        self._retriever.warm(corpus)

    def prepare(self, question: Question, corpus: Corpus, budget: Budget, watch: Watch | None = None) -> Context:
        """The best passages whose prompt stays inside the window, the passage budget and `max_prompt_tokens`."""
        passages = self._retriever.retrieve(question.standalone, corpus, PASSAGES, watch)
        return self._context(passages, question, corpus, budget)

    def _context(self, passages: Sequence[Passage], question: Question, corpus: Corpus, budget: Budget) -> Context:
        most = self._engine.model.window - new_tokens(question)[0]
        if budget.max_prompt_tokens is not None:
            most = min(most, budget.max_prompt_tokens)

        def context(parts: Sequence[Part]) -> Context:
            return Context(tuple(parts), question.text, question.history, question.task)

        def fits(parts: Sequence[Part]) -> bool:
            tokens = sum(self._engine.count_text(part.text) for part in parts)
            return tokens <= self._passage_tokens and self._engine.count(context(parts)) <= most

        return context(in_document_order(passages, corpus, fits))
