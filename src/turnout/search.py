"""A search as its caller sees it: passages with their documents, their places and what was given with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from turnout.asking import Hit
from turnout.contracts import Attends, Locates, Retriever, Stopper
from turnout.documents import Document, Passage
from turnout.errors import ConfigurationError, UnknownNameError
from turnout.progress import Watch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from turnout.parts import Parts
    from turnout.retrieval.corpus import Corpus

HYBRID, LDAR = "hybrid", "ldar"
RETRIEVERS = (HYBRID, LDAR, "attention", "chunkfree")
"""By words and meaning; by a learned band of meaning; by what the model looks at; by what it would begin to copy."""

if TYPE_CHECKING:
    Found = tuple[list[Passage], NDArray[np.float32] | None]
    Find = Callable[[str, Corpus, int], Found]
    """A search of a corpus: passages, best first, and every segment's likeness in meaning where that is known."""


def check(retriever: str) -> None:
    """Raises UnknownNameError: there is no such retriever."""
    if retriever not in RETRIEVERS:
        raise UnknownNameError("retriever", retriever, RETRIEVERS)


def by_index(parts: Parts) -> Find:
    """Without any model but the embedder."""

    def find(question: str, corpus: Corpus, limit: int) -> Found:
        # What a reranker says of passages is found again, by whose documents they are.
        watch = Watch(namespace=parts.namespace(corpus.documents, None)) if parts.settings.reranker else None
        result = parts.retriever.search(question, corpus, limit, watch)
        return result.passages, result.cosines

    return find


def by_band(parts: Parts) -> Find:
    """By meaning, as far as a policy says.

    Raises:
        ConfigurationError: there is no policy, or no embedder.
        ModelError: the policy is damaged.
    """
    ldar = parts.ldar
    if ldar is None:
        raise ConfigurationError(
            "the retriever ldar needs an embedder and a policy", hint=f"TURNOUT_LDAR=FOLDER, or use {HYBRID}"
        )
    return ldar.search


def by_reading(parts: Parts, retriever: str, stopped: Stopper) -> Find:
    """With the model, which reads everything.

    Args:
        stopped: asked between steps.

    Raises:
        Cancelled: `stopped` said so.
        ConfigurationError: the model can't do it.
        ModelError: it is not here.
    """

    def find(question: str, corpus: Corpus, limit: int) -> Found:
        reader = _reader(parts, retriever, limit)
        reader.warm(corpus)
        return reader.retrieve(question, corpus, limit, Watch(stopped, parts.progress)), None

    return find


def _reader(parts: Parts, retriever: str, limit: int) -> Retriever:
    from turnout.retrieval.attention import AttentionRetriever
    from turnout.retrieval.chunkfree import SPANS, ChunkFreeRetriever

    engine = parts.engine
    if retriever == "attention" and isinstance(engine, Attends):
        return AttentionRetriever(engine)
    if retriever == "chunkfree" and isinstance(engine, Locates):
        return ChunkFreeRetriever(engine, spans=max(limit, SPANS))
    raise ConfigurationError(
        f"the retriever {retriever} needs a model that this machine runs, {engine.model.name} is none",
        hint=f"use {HYBRID}, or a local model",
    )


def hits(
    parts: Parts, question: str, documents: Sequence[Document], given: Mapping[str, str], limit: int, find: Find
) -> tuple[Hit, ...]:
    """At most `limit` passages of the documents, best first.

    Args:
        given: the JSON that was given with documents just now, by id; the others are of the library.
    """
    corpus = parts.corpus(documents)
    found, cosines = find(question, corpus, limit)
    asked = {passage.span.document_id: corpus.document(passage.span.document_id) for passage in found}
    held = parts.library.metadata(document for id_, document in asked.items() if id_ not in given)
    return _hits(corpus, found, cosines, asked, {**held, **given})


def hits_in(parts: Parts, question: str, collection: str, limit: int, find: Find) -> tuple[Hit, ...]:
    """As `hits`, of a collection, under the names and with the metadata that its documents have there."""
    corpus = parts.collection(collection)
    found, cosines = find(question, corpus, limit)
    holders = parts.library.held(collection, documents=[passage.span.document_id for passage in found])
    first = {holder.document_id: holder for holder in reversed(holders)}
    asked = {id_: holder.named(corpus.document(id_)) for id_, holder in first.items()}
    return _hits(corpus, found, cosines, asked, {id_: holder.metadata for id_, holder in first.items()})


def _hits(
    corpus: Corpus,
    found: Sequence[Passage],
    cosines: NDArray[np.float32] | None,
    documents: Mapping[str, Document],
    metadata: Mapping[str, str],
) -> tuple[Hit, ...]:
    numbers = {segment.span: number for number, segment in enumerate(corpus.segments)} if cosines is not None else {}
    result = []
    for passage in found:
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
