"""The documents of one question, with what retrievers need of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from turnout.documents import Document, Segment, Span
from turnout.retrieval.lexical import LexicalIndex

Vectors = Callable[[], NDArray[np.float32]]
Scores = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Corpus:
    """Documents in the caller's order and their segments in document order. Cheap to build; the rest is made at
    first use and kept.

    Args:
        documents: each one once.
        segments: of all documents, in the same order.
        fingerprint: of the embedder that `vectors` come from; None where there is none.
        embedder: its name.
        vectors: loads [len(segments), dimension], rows of length 1.
        index: where many segments are searched, gives the cosine of each with a vector without loading all vectors.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        segments: Sequence[Segment],
        *,
        fingerprint: str | None = None,
        embedder: str = "",
        vectors: Vectors | None = None,
        index: Scores | None = None,
    ) -> None:
        self.documents = tuple(documents)
        self.segments = tuple(segments)
        self.fingerprint = fingerprint
        self.embedder = embedder
        self._load = vectors
        self._vectors: NDArray[np.float32] | None = None
        self._lexical: LexicalIndex | None = None
        # Of its own each, and not cached_property, for which all corpora wait in Python 3.11.
        self._loading, self._indexing = threading.Lock(), threading.Lock()
        self._index = index
        self._order = {document.id: number for number, document in enumerate(self.documents)}

    def document(self, document_id: str) -> Document:
        """The document of an id.

        Raises:
            KeyError: it is not in this corpus.
        """
        return self.documents[self._order[document_id]]

    def position(self, span: Span) -> tuple[int, int]:
        """Sorts spans into document order."""
        return self._order[span.document_id], span.start

    def text(self, span: Span) -> str:
        """The untouched text of a span."""
        return self.document(span.document_id).text[span.start : span.end]

    @property
    def vectors(self) -> NDArray[np.float32] | None:
        """[segments, dimension] float32, rows of length 1; None without an embedder. Made once, while no other corpus
        has to wait."""
        with self._loading:
            if self._vectors is None and self._load:
                self._vectors = self._load()
            return self._vectors

    def cosines(self, vector: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """[segments] cosines with a vector of length 1; None without an embedder."""
        if self._index:
            return self._index(vector)
        vectors = self.vectors
        return None if vectors is None else vectors @ vector

    @property
    def lexical(self) -> LexicalIndex:
        """Search by words over the segments; made once, as `vectors`."""
        with self._indexing:
            if self._lexical is None:
                self._lexical = LexicalIndex([self.text(segment.span) for segment in self.segments])
            return self._lexical
