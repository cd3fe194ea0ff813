"""Vectors of segments: made once per text and embedder, kept in SQL, searched directly or through the FAISS file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from turnout.contracts import Embedder
from turnout.database import Database
from turnout.documents import Document, Segment
from turnout.retrieval import index, store
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.vectors import checked, name_of, pack, unpack

INDEX_FROM = 20_000
"""Segments from which a search goes through the FAISS file; below, the vectors are read from SQL."""

_STORE_AT_ONCE = 1024

Progress = Callable[[int, int], None]
"""Called with (segments embedded, segments to embed) so far; the second grows as documents arrive."""


class Count:
    """Adds up the progress of several embedding runs."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._done = self._total = 0

    def expect(self, texts: int) -> None:
        self._total += texts

    def advance(self, texts: int) -> None:
        self._done += texts
        if self._progress:
            self._progress(self._done, self._total)


class VectorStore:
    """The vectors of one embedder.

    Args:
        database: where they are.
        home: the folder of the FAISS file.
        embedder: makes them.
    """

    def __init__(self, database: Database, home: Path, embedder: Embedder) -> None:
        self._database = database
        self._home = home
        self._embedder = embedder
        self._opened: index.VectorIndex | None = None

    @property
    def fingerprint(self) -> str:
        return self._embedder.fingerprint

    def missing(self, connection: Connection, hashes: Iterable[str]) -> set[str]:
        """Those of the segment hashes that have no vector yet."""
        wanted = list(hashes)
        return set(wanted) - store.vector_ids(connection, wanted, self.fingerprint).keys()

    def embed(self, texts: Mapping[str, str], count: Count) -> dict[str, bytes]:
        """Packed vectors of texts, by segment hash; nothing is stored.

        Raises:
            ModelError: the embedder broke its contract (not a number, wrong shape).
        """
        if not texts:
            return {}
        count.expect(len(texts))
        vectors = self._embedder.embed(list(texts.values()), count.advance)
        checked(vectors, len(texts), self._embedder.dimension)
        return {hash_: pack(vector) for hash_, vector in zip(texts, vectors, strict=True)}

    def stored(self, hashes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors that are stored, by segment hash."""
        with self._database.read() as connection:
            packed = store.vectors(connection, hashes, self.fingerprint)
        return dict(zip(packed, unpack(list(packed.values()), self._embedder.dimension), strict=True))

    def sync(self) -> None:
        """Brings the FAISS file up to date, where FAISS is installed."""
        if index.is_installed():
            self._index().sync()

    def corpus(self, documents: Sequence[Document], segments: Sequence[Segment], progress: Progress | None) -> Corpus:
        """A corpus whose vectors are read, or made, when a search first needs them."""
        whole = {document.id: document.text for document in documents}
        texts = {s.hash: whole[s.span.document_id][s.span.start : s.span.end] for s in segments}
        numbers: list[NDArray[np.int64]] = []

        def vectors() -> NDArray[np.float32]:
            packed = self._complete(texts, Count(progress))
            return unpack([packed[s.hash] for s in segments], self._embedder.dimension)

        def cosines(vector: NDArray[np.float32]) -> NDArray[np.float32]:
            if not numbers:
                numbers.append(self._numbers(texts, segments, Count(progress)))
            return self._index().cosines(vector, numbers[0])

        by_file = len(segments) >= INDEX_FROM and index.is_installed()
        return Corpus(
            documents,
            segments,
            fingerprint=self.fingerprint,
            embedder=name_of(self._embedder),
            vectors=vectors,
            index=cosines if by_file else None,
        )

    def _complete(self, texts: Mapping[str, str], count: Count) -> dict[str, bytes]:
        """The packed vectors of all texts, by segment hash; those that were missing are made and stored."""
        with self._database.read() as connection:
            packed = store.vectors(connection, list(texts), self.fingerprint)
        self._make({hash_: text for hash_, text in texts.items() if hash_ not in packed}, count, packed)
        return packed

    def _numbers(self, texts: Mapping[str, str], segments: Sequence[Segment], count: Count) -> NDArray[np.int64]:
        """The vector id of each segment; vectors that were missing are made and stored."""
        with self._database.read() as connection:
            missing = self.missing(connection, texts)
        self._make({hash_: texts[hash_] for hash_ in texts if hash_ in missing}, count, {})
        with self._database.read() as connection:
            ids = store.vector_ids(connection, list(texts), self.fingerprint)
        return np.array([ids.get(segment.hash, index.GONE) for segment in segments], np.int64)

    def _make(self, texts: Mapping[str, str], count: Count, made: dict[str, bytes]) -> None:
        """Embeds and stores in portions, so that work done is kept when the caller gives up."""
        hashes = list(texts)
        for start in range(0, len(hashes), _STORE_AT_ONCE):
            fresh = self.embed({h: texts[h] for h in hashes[start : start + _STORE_AT_ONCE]}, count)
            with self._database.write() as connection:
                store.put_vectors(connection, fresh, self.fingerprint)
            made |= fresh

    def _index(self) -> index.VectorIndex:
        if self._opened is None:
            self._opened = index.VectorIndex(self._database, self._home, self.fingerprint, self._embedder.dimension)
        return self._opened
