"""What a `Turnout` does with documents: reading, keeping, listing, searching and removing them."""

from __future__ import annotations

import asyncio
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from turnout.asking import Hit
from turnout.documents import Document, DocumentInfo
from turnout.errors import ConfigurationError
from turnout.inputs import Added, Input, Reader, nothing_in
from turnout.progress import Progress

if TYPE_CHECKING:
    from turnout.entries import Entries
    from turnout.parts import Parts


class Shelf(ABC):
    """The part of `Turnout` that writes no answers."""

    _progress: Progress

    @abstractmethod
    def _opened(self) -> Parts:
        """What is held open."""

    @abstractmethod
    def _in_turn(self) -> AbstractContextManager[Callable[[], bool]]:
        """Waits until no other question is answered; gives what says that this one is to stop."""

    def add(self, *inputs: Input, collection: str = "library") -> Added:
        """Reads documents into the library; what is there already, unchanged, costs nothing.

        Args:
            inputs: paths, folders, globs, `Text`, bytes, or LangChain documents.

        Returns:
            `documents` in the order given and `failed`, one entry with reason and hint for each that can't be read.
        """
        parts = self._opened()
        return Reader(parts.library, parts.settings, self._progress, collection).add(inputs)

    def collections(self) -> list[dict[str, Any]]:
        """What has documents, by name: how many `documents`, and whether it is kept `apart` (docs/collections.md)."""
        found = self._opened().library.collections()
        return [{"name": name, "documents": documents, "apart": apart} for name, apart, documents in found]

    def documents(self, collection: str = "library") -> list[DocumentInfo]:
        """What is in the library."""
        entries = self._opened().library.list(collection)
        return [DocumentInfo(entry.document_id, entry.title, entry.source) for entry in entries]

    def listing(self, collection: str = "library") -> list[dict[str, Any]]:
        """As `documents`, with each one's figures: kind, characters, pages, segments, estimated tokens."""
        return [dataclasses.asdict(entry) for entry in self._opened().library.list(collection)]

    def show(self, document: str, collection: str | None = None) -> dict[str, Any]:
        """One document by id, title or source, with its text and segments; of a collection, or wherever it is."""
        library = self._opened().library
        found = library.get(document, collection=collection)
        segments = [
            {
                "hash": segment.hash,
                "start": segment.span.start,
                "end": segment.span.end,
                "tokens_estimate": segment.tokens_estimate,
                "place": str(found.place(segment.span.start)),
                "opening": " ".join(found.text[segment.span.start : segment.span.start + 60].split()),
            }
            for segment in library.segments(found.id)
        ]
        return dataclasses.asdict(found) | {"segments": segments}

    def remove(self, *documents: str | DocumentInfo, collection: str | None = None) -> list[DocumentInfo]:
        """Removes documents, by id, title or source, and all that derives from them: text, vectors, quotes, what is
        kept of segments that no other document has, and of prompts, which may be of them.

        Args:
            collection: only from this one; a document that another one has too stays there.

        Raises:
            UnknownNameError, ConfigurationError: a name stands for no document, or for several; none is removed.
            StoreError: there is a server for what is kept of segments, and it can't be used: all else is removed.
        """
        parts = self._opened()
        library = parts.library
        names = [d.id if isinstance(d, DocumentInfo) else d for d in documents]
        found = [library.get(name, cached=collection is None, collection=collection) for name in names]
        ids = [document.id for document in found]
        parts.erase((library.remove(ids) if collection is None else library.take_out(ids, collection)).segments)
        return [document.info() for document in found]

    def read(self, documents: Input | Iterable[Input] | None = None, collection: str | None = None) -> list[Document]:
        """Reads documents to ask about. They are kept in a bounded cache, so that nothing is converted twice.

        Args:
            collection: what is read belongs there, and names stand for its documents; without `documents`, all of it.

        Raises:
            ConfigurationError: neither is given.
            DocumentError: one of them can't be read.
            NoDocumentsError: the collection holds nothing.
        """
        parts = self._opened()
        if documents is None:
            if collection is None:
                raise ConfigurationError(
                    "there are no documents to ask about", hint="give documents, paths, texts, or a collection"
                )
            documents = self.documents(collection)
            if not documents:
                raise nothing_in(collection)
        return Reader(parts.library, parts.settings, self._progress, collection).read(documents)

    def held(self, document: str, collection: str | None = None) -> DocumentInfo | None:
        """The document of the library that a name stands for, as `ask` takes it; None for a path and for no name."""
        parts = self._opened()
        found = Reader(parts.library, parts.settings, self._progress, collection).held(document)
        return None if found is None else found.info()

    def named(self, document: str, collection: str) -> DocumentInfo:
        """The document of a collection with this id, beginning of an id, title or source; never a path.

        Raises:
            UnknownNameError, ConfigurationError: the collection has none of that name, or several.
        """
        return self._opened().library.get(document, cached=False, collection=collection).info()

    def span(
        self, document: DocumentInfo, start: int, end: int | None, collection: str | None = None, *, most: int = 100_000
    ) -> dict[str, Any]:
        """The text of a document from a character on, and where that is; what is over the text's end is left out.

        Args:
            end: exclusive; the end of the text by default.
            most: characters that are given at once.

        Raises:
            UnknownNameError: the document is gone, or of another collection.
        """
        found = self._opened().library.get(document.id, collection=collection)
        size = len(found.text)
        start = min(start, size)
        stop = max(start, min(size if end is None else end, size, start + most))
        place = found.place(start)
        return {
            "id": found.id, "title": document.title, "start": start, "end": stop, "chars": size,
            "page": place.page, "line": place.line, "place": str(place), "text": found.text[start:stop],
        }  # fmt: skip

    def load(self, *inputs: Input) -> Iterator[Document]:
        """Reads documents, one at a time, without keeping them.

        Raises:
            DocumentError: the next one can't be read.
        """
        parts = self._opened()
        yield from Reader(parts.library, parts.settings, self._progress).each(inputs)

    def entries(self, collection: str = "library") -> Entries:
        """A collection as a store of texts under ids of your own, found by likeness in meaning."""
        from turnout.entries import Entries

        return Entries(self._opened(), collection)

    def search(
        self,
        question: str,
        documents: Input | Iterable[Input] | None = None,
        limit: int = 5,
        *,
        collection: str | None = None,
        retriever: str = "hybrid",
    ) -> tuple[Hit, ...]:
        """The passages that match a question, best first.

        Args:
            documents: to search; or else a `collection`, whose documents then bear the names that they have there.
            limit: most passages; there may be fewer.
            retriever: "hybrid", by words and, with an embedder, by meaning: no model reads the documents, and no
                question has to wait. "ldar": by meaning, as far down the ranking as a policy says that was trained for
                a reader (TURNOUT_LDAR). "attention" and "chunkfree": the model reads everything, in its turn, and tells
                what it looks at, or which sentences it would answer with (docs/decision.md).

        Raises:
            ConfigurationError: the model can't do it.
        """
        from turnout import search

        if not question.strip():
            raise ConfigurationError("the question is empty", hint="say what to look for")
        search.check(retriever)
        parts = self._opened()
        if documents is not None and collection is None:
            given = Reader(parts.library, parts.settings, self._progress).given(documents)
            asked = partial(search.hits, parts, question, *given, limit)
        elif collection is not None and documents is None:
            if not parts.library.members(collection):
                raise nothing_in(collection)
            asked = partial(search.hits_in, parts, question, collection, limit)
        else:
            raise ConfigurationError("a search is over documents or over a collection", hint="give one of the two")
        if retriever == search.HYBRID:
            return asked(search.by_index(parts))
        if retriever == search.LDAR:
            return asked(search.by_band(parts))
        with self._in_turn() as stopped:
            return asked(search.by_reading(parts, retriever, stopped))

    def soften(self, documents: Input | Iterable[Input], *, strategy: str = "soft") -> dict[str, int]:
        """Makes what a strategy keeps of documents before anybody asks it about them (docs/soft.md).

        Args:
            strategy: "soft", whose soft tokens are made, or "soft:ape": keys and values.

        Returns:
            `segments` of the documents, each once, and how many of them were `made`, because they were not kept.

        Raises:
            ConfigurationError: the model can't do it.
            UnknownNameError: the strategy keeps nothing.
        """
        from turnout.softening import soften

        parts = self._opened()
        read = self.read(documents)
        with self._in_turn() as stopped:
            return soften(parts, read, strategy, stopped)

    @property
    def embedder_name(self) -> str | None:
        """What embeds texts; None where nothing does."""
        return self._opened().embedder_name

    def embed(self, texts: Sequence[str], *, questions: bool = False) -> list[list[float]]:
        """The vectors of texts, each of length 1.

        Args:
            questions: the texts are what is searched for, which some embedders read otherwise.

        Raises:
            MissingExtraError: there is no embedder.
        """
        from turnout.entries import no_embedder, vectors

        embedder = self._opened().embedder
        if embedder is None:
            raise no_embedder()
        return vectors(embedder, texts, questions=questions)

    async def aadd(self, *inputs: Input, collection: str = "library") -> Added:
        """`add` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.add(*inputs, collection=collection))

    async def asearch(
        self,
        question: str,
        documents: Input | Iterable[Input] | None = None,
        limit: int = 5,
        *,
        collection: str | None = None,
        retriever: str = "hybrid",
    ) -> tuple[Hit, ...]:
        """`search` without blocking the event loop."""
        return await asyncio.to_thread(
            lambda: self.search(question, documents, limit, collection=collection, retriever=retriever)
        )

    async def asoften(self, documents: Input | Iterable[Input], *, strategy: str = "soft") -> dict[str, int]:
        """`soften` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.soften(documents, strategy=strategy))

    async def aembed(self, texts: Sequence[str], *, questions: bool = False) -> list[list[float]]:
        """`embed` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.embed(texts, questions=questions))
