"""The vector store: documents of LangChain in a collection of the library."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from typing_extensions import override

from turnout.client import Turnout
from turnout.entries import Entries, Entry
from turnout.langchain.embeddings import ForeignEmbedder, TurnoutEmbeddings
from turnout.langchain.errors import RequestError, shaped
from turnout.langchain.opened import Opened

Filter = Mapping[str, Any] | Callable[[Document], bool]


class TurnoutVectorStore(VectorStore):
    """Texts with their metadata, found by likeness in meaning. Questions can be asked over them:
    `ChatTurnout(turnout=store.turnout, collection=store.collection)`.

    A long text counts by its best segment, and is returned whole.

    Args:
        embedding: makes the vectors; the library's own embedder by default.
        turnout: one that is open already, to share its library and embedder; `embedding` and `home` are then left out.
        collection: of the library.
        home: data directory.
    """

    def __init__(
        self,
        embedding: Embeddings | None = None,
        *,
        turnout: Turnout | None = None,
        collection: str = "langchain",
        home: str | os.PathLike[str] | None = None,
    ) -> None:
        self.collection = collection
        embedder = None if embedding is None else ForeignEmbedder(embedding)
        self._opened = Opened.of(turnout, home=home, embedder=embedder)
        self._embeddings = embedding or TurnoutEmbeddings(self.turnout)

    @property
    def turnout(self) -> Turnout:
        """What holds the library."""
        return self._opened.turnout()

    @property
    @override
    def embeddings(self) -> Embeddings:
        return self._embeddings

    @classmethod
    @override
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        store = cls(embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def close(self) -> None:
        """Frees what was opened here; a `turnout` that was given stays open."""
        self._opened.close()

    # --- keeping -----------------------------------------------------------------------------------------------------

    @override
    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Stores texts; one whose id is known replaces what it held. Returns the ids, made where none are given."""
        _refuse(kwargs, "batch_size")  # of LangChain's indexing: texts are kept in portions anyway
        given = list(texts)
        about = metadatas or [{} for _ in given]
        named = list(ids) if ids is not None else [None] * len(given)
        if not len(given) == len(about) == len(named):
            raise RequestError(
                f"{len(given)} texts, {len(about)} metadata and {len(named)} ids",
                hint="give one of each for every text",
            )
        known = [id_ or str(uuid.uuid4()) for id_ in named]
        with shaped():
            self._entries.put(Entry(*fields) for fields in zip(known, given, about, strict=True))
        return known

    @override
    def add_documents(self, documents: list[Document], **kwargs: Any) -> list[str]:
        """As `add_texts`, with the documents' own ids where none are given."""
        kwargs.setdefault("ids", [document.id for document in documents])
        texts = [document.page_content for document in documents]
        return self.add_texts(texts, [document.metadata for document in documents], **kwargs)

    @override
    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Removes texts, all of the collection without `ids`; unknown ids are fine."""
        _refuse(kwargs)
        with shaped():
            self._entries.remove(ids)
        return True

    @override
    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        with shaped():
            return [_document(entry) for entry in self._entries.get(ids)]

    # --- finding -----------------------------------------------------------------------------------------------------

    @override
    def similarity_search(
        self, query: str, k: int = 4, *, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """The `k` likest texts; `filter` is metadata that they have, or a function of the document."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter=filter, **kwargs)]

    @override
    def similarity_search_with_score(
        self, query: str, k: int = 4, *, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As `similarity_search`, with the cosine of each: higher is liker."""
        _refuse(kwargs)
        with shaped():
            found = self._entries.nearest(query, k, _keeps(filter))
        return [(_document(entry), cosine) for entry, cosine in found]

    @override
    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, *, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        _refuse(kwargs)
        with shaped():
            found = self._entries.nearest(embedding, k, _keeps(filter))
        return [_document(entry) for entry, _ in found]

    @override
    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`k` of the `fetch_k` likest texts that differ from each other, the more so the smaller `lambda_mult`."""
        return self._diverse(query, k, fetch_k, lambda_mult, filter, kwargs)

    @override
    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """As `max_marginal_relevance_search`."""
        return self._diverse(embedding, k, fetch_k, lambda_mult, filter, kwargs)

    def _diverse(
        self,
        question: str | list[float],
        k: int,
        fetch_k: int,
        lambda_mult: float,
        filter: Filter | None,
        left: Mapping[str, Any],
    ) -> list[Document]:
        from langchain_core.vectorstores.utils import maximal_marginal_relevance

        _refuse(left)
        with shaped():
            asked, found = self._entries.nearest_vectors(question, fetch_k, _keeps(filter))
        vectors: list[Any] = [vector for _, vector in found]
        return [_document(found[number][0]) for number in maximal_marginal_relevance(asked, vectors, lambda_mult, k)]

    @override
    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: (1 + cosine) / 2

    @property
    def _entries(self) -> Entries:
        return self.turnout.entries(self.collection)


def _refuse(options: Mapping[str, Any], *fine: str) -> None:
    """Refuses options that would be ignored."""
    if left := [name for name in options if name not in fine]:
        raise RequestError(
            f"a vector store of turnout has no option {left[0]!r}", hint="a search takes k and filter, adding takes ids"
        )


def _document(entry: Entry) -> Document:
    return Document(page_content=entry.text, metadata=dict(entry.metadata), id=entry.id)


def _keeps(wanted: Filter | None) -> Callable[[Entry], bool]:
    if wanted is None:
        return lambda entry: True
    if isinstance(wanted, Mapping):
        return lambda entry: all(name in entry.metadata and entry.metadata[name] == v for name, v in wanted.items())
    return lambda entry: wanted(_document(entry))
