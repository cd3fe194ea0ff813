"""A search as its caller sees it: passages with their documents, their places and what was given with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from turnout.asking import Hit
from turnout.types import Document

if TYPE_CHECKING:
    from turnout.parts import Parts
    from turnout.retrieval.corpus import Corpus
    from turnout.retrieval.hybrid import SearchResult


def hits(
    parts: Parts, question: str, documents: Sequence[Document], given: Mapping[str, str], limit: int
) -> tuple[Hit, ...]:
    """At most `limit` passages of the documents, best first.

    Args:
        given: the JSON that was given with documents just now, by id; the others are of the library.
    """
    corpus = parts.corpus(documents)
    found = parts.retriever.search(question, corpus, limit)
    asked = {passage.span.document_id: corpus.document(passage.span.document_id) for passage in found.passages}
    held = parts.library.metadata(document for id_, document in asked.items() if id_ not in given)
    return _hits(corpus, found, asked, {**held, **given})


def hits_in(parts: Parts, question: str, collection: str, limit: int) -> tuple[Hit, ...]:
    """As `hits`, of a collection, under the names and with the metadata that its documents have there."""
    corpus = parts.collection(collection)
    found = parts.retriever.search(question, corpus, limit)
    holders = parts.library.held(collection, documents=[passage.span.document_id for passage in found.passages])
    first = {holder.document_id: holder for holder in reversed(holders)}
    asked = {id_: holder.named(corpus.document(id_)) for id_, holder in first.items()}
    return _hits(corpus, found, asked, {id_: holder.metadata for id_, holder in first.items()})


def _hits(
    corpus: Corpus, found: SearchResult, documents: Mapping[str, Document], metadata: Mapping[str, str]
) -> tuple[Hit, ...]:
    cosines = found.cosines
    numbers = {segment.span: number for number, segment in enumerate(corpus.segments)} if cosines is not None else {}
    result = []
    for passage in found.passages:
        span, document = passage.span, documents.get(passage.span.document_id)
        if document is None:  # it was removed meanwhile
            continue
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
                metadata=json.loads(metadata.get(document.id) or "{}"),
            )
        )
    return tuple(result)
