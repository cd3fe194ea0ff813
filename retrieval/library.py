"""The library of documents: what was added, its segments and vectors, kept whole and in step in one database."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from turnout.contracts import Embedder
from turnout.database import Database
from turnout.documents import Document, Segment, title_of
from turnout.errors import ConfigurationError
from turnout.retrieval import apart, catalogue, index, store
from turnout.retrieval.apart import OPEN, Realm
from turnout.retrieval.catalogue import Entry
from turnout.retrieval.corpus import Corpus
from turnout.retrieval.pending import Pending
from turnout.retrieval.segment import segment
from turnout.retrieval.vector_store import Count, Progress, VectorStore

LIBRARY = "library"
"""The collection that documents go to when none is named."""

CACHED_DOCUMENTS = 200
"""Documents that are kept although they were only asked about."""

_BATCH_SEGMENTS, _BATCH_DOCUMENTS = 256, 64


@dataclass(frozen=True, slots=True)
class Added:
    """What adding did: `new` segments had never been seen, `reused` ones were stored for some document already."""

    document: Document
    status: Literal["added", "unchanged", "updated"]
    new: int
    reused: int


@dataclass(frozen=True, slots=True)
class Removed:
    """What is gone.

    Attributes:
        documents: their ids.
        segments: hashes of those that they had; other documents may have some of them.
    """

    documents: tuple[str, ...]
    segments: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Cut:
    pending: Pending
    segments: list[Segment]


class Library:
    """Documents in collections. Every document is stored with all its segments and vectors, or not at all.

    Args:
        database: where everything is.
        home: the folder of the FAISS files.
        embedder: makes the vectors; without one documents are found by words alone, and a library that has one makes
            the missing vectors when a search first needs them.
        cached: documents to keep that were asked about without being added, of each collection that is kept apart.
        shared: new collections share what is computed of equal texts, instead of being kept apart.
    """

    def __init__(
        self,
        database: Database,
        home: Path,
        embedder: Embedder | None,
        *,
        cached: int = CACHED_DOCUMENTS,
        shared: bool = False,
    ) -> None:
        self._database = database
        self._home = home
        self._vectors = VectorStore(database, home, embedder) if embedder is not None else None
        self._cached = cached
        self._shared = shared

    def add(
        self,
        document: Document,
        *,
        file_hash: str = "",
        converter: str = "",
        collection: str | None = LIBRARY,
        progress: Progress | None = None,
    ) -> Added:
        """Adds one document; see `add_many`."""
        return self.add_many([Pending(document, file_hash, converter)], collection=collection, progress=progress)[0]

    def add_many(
        self,
        pending: Iterable[Pending],
        *,
        collection: str | None = LIBRARY,
        progress: Progress | None = None,
        added: Callable[[Added], None] | None = None,
        asked_in: str | None = None,
    ) -> list[Added]:
        """Adds documents, in small batches that each appear whole.

        The same content is one document, however many sources hold it, but for collections that are kept apart. A
        source whose content changed lets go of the old document, which is purged when nothing else holds it. In the
        bounded cache (`collection=None`) vectors are made later, when a search first needs them.

        Args:
            pending: may be a generator, so that conversion and embedding take turns.
            collection: a name, or None for the cache.
            asked_in: the collection whose question the cache shall hold documents for.
            progress: called during embedding.
            added: called after each document is stored.

        Raises:
            ModelError: the embedder failed; batches before this one are stored.
            StoreError: the database can't be written.
        """
        if collection == store.CACHE:
            raise ConfigurationError("a collection needs a name", hint="leave it out for the default one")
        vectors = self._vectors if collection is not None else None
        done: list[Added] = []
        count = Count(progress)
        realm = self.realm(collection or asked_in)
        for batch in _batches(pending, realm):
            for result in self._add_batch(batch, collection or store.CACHE, realm, vectors, count):
                done.append(result)
                if added:
                    added(result)
        if collection is None:
            self._prune([result.document.id for result in done], realm)
        if vectors and done:
            vectors.sync()
        return done

    def realm(self, collection: str | None) -> Realm:
        """What the documents of a collection belong to. LIBRARY, and what belongs to none, is never kept apart."""
        if collection is None or collection in (LIBRARY, store.CACHE):
            return OPEN
        with self._database.read() as connection:
            known = apart.found(connection, collection)
        if known is not None:
            return known
        with self._database.write() as connection:
            return apart.made(connection, collection, shared=self._shared, now=time.time())

    def salts(self, documents: Iterable[str]) -> list[str]:
        """The salts of the collections that stored documents belong to, each once."""
        with self._database.read() as connection:
            return apart.salts(connection, list(documents))

    def collections(self) -> list[tuple[str, bool, int]]:
        """Every collection that holds something: its name, whether it is kept apart, and how many documents it has."""
        with self._database.read() as connection:
            return apart.names(connection)

    def _add_batch(
        self, batch: list[_Cut], collection: str, realm: Realm, vectors: VectorStore | None, count: Count
    ) -> list[Added]:
        texts = {s.hash: cut.pending.document.text[s.span.start : s.span.end] for cut in batch for s in cut.segments}
        fresh: dict[str, bytes] = {}
        while True:
            if vectors:
                with self._database.read() as connection:
                    missing = vectors.missing(connection, texts) - fresh.keys()
                fresh |= vectors.embed({h: text for h, text in texts.items() if h in missing}, count)
            with self._database.write() as connection:
                # Another process may have purged a vector that was counted on: then once more, without the lock.
                if vectors and not vectors.missing(connection, texts) <= fresh.keys():
                    continue
                seen = store.known_hashes(connection, list(texts))
                results = [_put(connection, cut, collection, seen, realm) for cut in batch]
                if vectors:
                    store.put_vectors(connection, fresh, vectors.fingerprint)
                return results

    def known(self, file_hash: str, converter: str, source: str = "", collection: str | None = None) -> Document | None:
        """The document that this converter made of a file with this hash, so that it need not be converted again.

        With `source`, the document bears that source and its name, even where another file had the same content. With
        `collection`, one that belongs there.
        """
        realm = self.realm(collection)
        with self._database.read() as connection:
            document = store.converted(connection, file_hash, converter, source, realm.name)
        if document is None or not source or document.source == source:
            return document
        has_file_name = document.title == title_of(document.source)
        return replace(document, source=source, title=title_of(source) if has_file_name else document.title)

    def get(self, name: str, *, cached: bool = True, collection: str | None = None) -> Document:
        """The document with this id, beginning of an id, source, path or title.

        Args:
            cached: whether documents count that were asked about and never added.
            collection: nothing of others is found, and no hint names any.

        Raises:
            UnknownNameError: there is none; the nearest name is in the hint.
            ConfigurationError: there are several.
        """
        with self._database.read() as connection:
            return catalogue.find(connection, name, cached=cached, collection=collection)

    def documents(self, collection: str = LIBRARY) -> tuple[Document, ...]:
        """All documents of a collection, by title."""
        with self._database.read() as connection:
            ids = [entry.document_id for entry in catalogue.entries(connection, collection)]
            stored = store.documents(connection, ids)
        return tuple(stored[id_] for id_ in ids)

    def members(self, collection: str) -> tuple[str, ...]:
        """The ids of a collection's documents, in order."""
        with self._database.read() as connection:
            return tuple(catalogue.members(connection, collection))

    def stored(self, ids: Iterable[str]) -> tuple[Document, ...]:
        """Those of the documents that are stored, under the titles that they were first given."""
        with self._database.read() as connection:
            return tuple(store.documents(connection, list(dict.fromkeys(ids))).values())

    def segments(self, document_id: str) -> tuple[Segment, ...]:
        """The segments of a stored document, in document order; empty where it is not stored."""
        with self._database.read() as connection:
            return tuple(store.segments(connection, [document_id]).get(document_id, ()))

    def remove(self, ids: Iterable[str]) -> Removed:
        """Purges documents and all that derives from them here: sources, segments, vectors, token counts, index
        entries, cached versions of the same source, and questions and texts in the ledger."""
        with self._database.write() as connection:
            doomed = store.with_cached_versions(connection, sorted(set(ids)))
            removed = Removed(tuple(doomed), frozenset(store.hashes(connection, doomed)))
            store.forget_content(connection, doomed)
            store.release_all(connection, doomed)
            store.purge(connection, doomed)
        index.refresh(self._database, self._home)
        self._database.compact()
        return removed

    def take_out(self, ids: Iterable[str], collection: str) -> Removed:
        """Takes documents out of a collection, and purges those that no other has, as `remove` does."""
        with self._database.write() as connection:
            wanted = sorted(set(ids))
            doomed = sorted(set(wanted) - store.elsewhere(connection, collection, wanted))
            removed = Removed(tuple(doomed), frozenset(store.hashes(connection, doomed)))
            store.forget_content(connection, doomed)
            store.release_from(connection, collection, wanted)
            store.release_all(connection, doomed)
            store.purge(connection, doomed)
        index.refresh(self._database, self._home)
        self._database.compact()
        return removed

    def release(self, sources: Iterable[str], collection: str) -> Removed:
        """Takes sources out of a collection, and purges the documents that nothing holds any more, as `remove` does."""
        with self._database.write() as connection:
            released = {id_ for source in sources for id_ in store.release(connection, collection, source)}
            gone = store.not_held(connection, sorted(released))
            removed = Removed(tuple(gone), frozenset(store.hashes(connection, gone)))
            store.forget_content(connection, gone)
            store.purge(connection, gone)
        index.refresh(self._database, self._home)
        self._database.compact()
        return removed

    def has_segments(self, hashes: Collection[str]) -> set[str]:
        """Those of some hashes that are of a segment of a stored document."""
        with self._database.read() as connection:
            return store.known_hashes(connection, sorted(hashes))

    def held(
        self, collection: str, sources: Sequence[str] | None = None, documents: Sequence[str] | None = None
    ) -> list[catalogue.Holder]:
        """What sources of a collection hold, by source: all of them, those that are named, or those that hold
        documents."""
        with self._database.read() as connection:
            return catalogue.holders(connection, collection, sources, documents)

    def metadata(self, documents: Iterable[Document]) -> dict[str, str]:
        """The JSON that was given with documents of the library, by id; none for one with which several were given."""
        with self._database.read() as connection:
            return catalogue.metadata(connection, {document.id: document.source for document in documents})

    def vectors(self, hashes: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """The stored vectors of segments, by segment hash; none without an embedder."""
        return self._vectors.stored(list(dict.fromkeys(hashes))) if self._vectors else {}

    def token_count(self, document_id: str, fingerprint: str) -> int | None:
        """The stored number of tokens of a document for a model, if there is one."""
        with self._database.read() as connection:
            return store.token_count(connection, document_id, fingerprint)

    def set_token_count(self, document_id: str, fingerprint: str, tokens: int) -> None:
        """Keeps the number of tokens of a stored document for a model; does nothing where it is not stored."""
        with self._database.write() as connection:
            store.set_token_count(connection, document_id, fingerprint, tokens)

    def corpus(
        self, documents: Sequence[Document], *, progress: Progress | None = None, collection: str | None = None
    ) -> Corpus:
        """The documents with their segments, ready to be searched; those that are not stored go into the cache.

        Args:
            documents: the same one twice counts once.
            progress: called while vectors are made, if that happens.
            collection: where those belong that are not stored.
        """
        realm = self.realm(collection)
        unique = list({document.id: document for document in documents}.values())
        ids = [document.id for document in unique]
        with self._database.read() as connection:
            cuts = store.segments(connection, ids)
        absent = [_Cut(Pending(each), segment(each, salt=realm.salt)) for each in unique if each.id not in cuts]
        cuts |= {cut.pending.document.id: cut.segments for cut in absent}
        with self._database.write() as connection:
            for cut in absent:
                _put(connection, cut, store.CACHE, set(), realm)
            store.touch(connection, ids, time.time())
        if absent:
            self._prune(ids, realm)
        segments = [s for id_ in ids for s in cuts[id_]]
        return self._vectors.corpus(unique, segments, progress) if self._vectors else Corpus(unique, segments)

    def _prune(self, needed: Iterable[str], realm: Realm) -> None:
        with self._database.write() as connection:
            store.prune(connection, self._cached, needed, realm.name)

    # Last, because inside the class its name hides the type.
    def list(self, collection: str = LIBRARY) -> list[Entry]:
        """What a collection holds, by title."""
        with self._database.read() as connection:
            return catalogue.entries(connection, collection)


def _batches(pending: Iterable[Pending], realm: Realm) -> Iterator[list[_Cut]]:
    """Documents with their segments, in batches large enough to embed well and small enough to lose."""
    batch: list[_Cut] = []
    for item in pending:
        item = replace(item, document=realm.own(item.document))
        batch.append(_Cut(item, segment(item.document, salt=realm.salt)))
        if len(batch) >= _BATCH_DOCUMENTS or sum(len(cut.segments) for cut in batch) >= _BATCH_SEGMENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def _put(connection: Connection, cut: _Cut, collection: str, seen: set[str], realm: Realm) -> Added:
    document, item = cut.pending.document, cut.pending
    # Text that came from nowhere in particular is its own source: another one never replaces it.
    source = document.source if document.source not in ("", "-") else document.id
    if realm.name and collection == store.CACHE:  # one for all: what others call theirs must not be replaced
        source = document.id
    was_held = store.is_held(connection, collection, document.id)
    store.put(connection, document, cut.segments, time.time(), realm.name)
    before = store.hold(
        connection,
        collection,
        source,
        document.id,
        item.file_hash,
        item.converter,
        metadata=item.metadata,
        title=document.title,
    )
    outdated = {before} if before else set()
    if collection != store.CACHE:
        outdated |= store.release(connection, store.CACHE, source)
    store.purge(connection, outdated)
    status: Literal["added", "unchanged", "updated"]
    status = "updated" if before not in (None, document.id) else "unchanged" if was_held else "added"
    hashes = {s.hash for s in cut.segments}
    return Added(document, status, new=len(hashes - seen), reused=len(hashes & seen))
