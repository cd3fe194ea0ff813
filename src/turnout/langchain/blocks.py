"""Citations as annotations of a message's text block, the standard place for them in LangChain.

A message's `content` is its plain text; its citations lie in `additional_kwargs` and come out in `content_blocks`.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.block_translators import register_translator

from turnout.record import citation_json
from turnout.types import Answer, Citation

PROVIDER = "turnout"
CITATIONS = "citations"


def cited(answer: Answer) -> list[dict[str, Any]]:
    """The answer's citations. What the model gave as a quote and what stands nowhere is no citation, and says so."""
    return [_annotation(citation, answer.text) for citation in answer.citations]


def _annotation(citation: Citation, text: str) -> dict[str, Any]:
    if citation.document is None or citation.found is None:
        return {"type": "non_standard_annotation", "value": {"quote": citation.quote, "found": None}}
    at = text.find(citation.quote)
    start, end = (at, at + len(citation.quote)) if at >= 0 else (0, len(text))
    source = citation.document.source
    return {
        "type": "citation",
        "title": citation.document.title,
        **({"url": source} if "://" in source else {}),
        "start_index": start,
        "end_index": end,
        "cited_text": citation.quote,
        "extras": {**citation_json(citation), "source": source},
    }


def translate(message: AIMessage) -> list[Any]:
    """A message's content as blocks: its text, with the citations."""
    if not isinstance(message.content, str):
        return [
            dict(block) if isinstance(block, dict) else {"type": "text", "text": block} for block in message.content
        ]
    found = message.additional_kwargs.get(CITATIONS)
    if not message.content and not found:
        return []
    block: dict[str, Any] = {"type": "text", "text": message.content}
    return [block | {"annotations": list(found)} if found else block]


register_translator(PROVIDER, translate, translate)
