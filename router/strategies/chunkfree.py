"""rag:chunkfree: the sentences that the reader itself would begin to copy (CFIC, arXiv 2402.09760)."""

from __future__ import annotations

from turnout.contracts import Engine, Locates, Retriever
from turnout.retrieval.chunkfree import SPAN_TOKENS, SPANS, WINDOW_TOKENS, ChunkFreeRetriever
from turnout.router.strategies.reading import RagByReading

AT_ONCE = WINDOW_TOKENS + SPANS * SPAN_TOKENS
"""Tokens of a window and of what follows its openings."""

READS = AT_ONCE / WINDOW_TOKENS / (1 - SPANS * SPAN_TOKENS / WINDOW_TOKENS)
"""Tokens that the reader reads for one of the documents, at most: a window with what follows its openings, and all that
again for what was found. Usually it is far less; until the ledger has measured it, seconds are overestimated."""


class RagChunkFree(RagByReading):
    """As `rag`, over sentences instead of segments: nothing is cut beforehand, and no index is needed.

    Args:
        retriever: see `RagByReading`.
    """

    name = "rag:chunkfree"

    def __init__(self, engine: Engine, retriever: Retriever, passage_tokens: int | None = None) -> None:
        reader = ChunkFreeRetriever(engine) if isinstance(engine, Locates) else None
        super().__init__(engine, reader, retriever, passage_tokens, reads=READS, at_once=AT_ONCE)
