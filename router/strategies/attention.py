"""rag:attention: the passages that the reader itself looks at, in document order (InfiniRetri, arXiv 2502.12962)."""

from __future__ import annotations

from turnout.contracts import Attends, Engine, Retriever
from turnout.retrieval.attention import KEPT_TOKENS, WINDOW_TOKENS, AttentionRetriever
from turnout.router.strategies.reading import RagByReading

READS = 1 + KEPT_TOKENS / WINDOW_TOKENS
"""Tokens that the reader reads for one of the documents, at most: each window comes after what was kept."""


class RagByAttention(RagByReading):
    """As `rag`, over a search by the model's attention.

    Args:
        retriever: see `RagByReading`.
    """

    name = "rag:attention"

    def __init__(self, engine: Engine, retriever: Retriever, passage_tokens: int | None = None) -> None:
        reader = AttentionRetriever(engine) if isinstance(engine, Attends) else None
        super().__init__(engine, reader, retriever, passage_tokens, reads=READS, at_once=WINDOW_TOKENS + KEPT_TOKENS)
