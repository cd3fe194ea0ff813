"""An answer as LangChain's message: text, usage, and what was decided."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from turnout.langchain.blocks import CITATIONS, PROVIDER, cited
from turnout.record import citation_json, figures, finish_reason
from turnout.types import Answer


def message(answer: Answer) -> AIMessage:
    """The whole answer."""
    return AIMessage(content=answer.text, **_around(answer))


def last_chunk(answer: Answer, shown: str) -> AIMessageChunk:
    """What is left of an answer after the text that was shown: the only chunk with usage, citations and decision."""
    return AIMessageChunk(content=answer.text.removeprefix(shown), chunk_position="last", **_around(answer))


def usage(answer: Answer) -> UsageMetadata:
    """Tokens read and written; `cache_read` are those that had been read before."""
    read, written = answer.usage.prompt_tokens, answer.usage.completion_tokens
    return UsageMetadata(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written,
        input_token_details={"cache_read": answer.usage.cached_tokens},
    )


def metadata(answer: Answer) -> dict[str, Any]:
    """What was decided and what it took, as docs/answer.md describes it."""
    known = figures(answer)
    return {
        "model_name": answer.model.full_name,
        "model_provider": PROVIDER,
        "finish_reason": finish_reason(answer),
        "answer_id": answer.id,
        "abstained": answer.abstained,
        "confidence": answer.confidence,
        "nearest": citation_json(answer.nearest) if answer.nearest else None,
        **{name: known[name] for name in ("decision", "budget", "usage", "notes")},
    }


def _around(answer: Answer) -> dict[str, Any]:
    found = cited(answer)
    return {
        "usage_metadata": usage(answer),
        "response_metadata": metadata(answer),
        "additional_kwargs": {CITATIONS: found} if found else {},
    }
