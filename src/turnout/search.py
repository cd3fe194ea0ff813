"""A search as its caller sees it: passages with their documents, their places and what was given with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from turnout.asking import Hit
from turnout.types import Document

if TYPE_CHECKING:
    from turnout.parts import Parts


def hits(parts: Parts, question: str, documents: Sequence[Document], limit: int) -> tuple[Hit, ...]:
    """At most `limit` passages of the documents, best first."""
    corpus = parts.corpus(documents)
    found = parts.retriever.search(question, corpus, limit)
    cosines = found.cosines
    numbers = {segment.span: number for number, segment in enumerate(corpus.segments)} if cosines is not None else {}
    given = parts.library.metadata(passage.span.document_id for passage in found.passages)
    result = []
    for passage in found.passages:
        span, document = passage.span, corpus.document(passage.span.document_id)
        place = document.place(span.start)
        result.append(
            Hit(
                document=document.info(),
                text=passage.text,
                start=span.start,
                end=span.end,
                score=passage.score,
                cosine=float(cosines[numbers[span]]) if cosines is not None else None,
                page=place.page,
                line=place.line,
                place=str(place),
                metadata=json.loads(given.get(document.id) or "{}"),
            )
        )
    return tuple(result)
