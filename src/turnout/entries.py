"""Texts of a collection under ids that the caller chooses, found again by id or by likeness in meaning."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from turnout.checks import metadata_json
from turnout.documents import Segment, Text, title_of
from turnout.errors import ConfigurationError, MissingExtraError
from turnout.retrieval.convert import convert_text, storable
from turnout.retrieval.pending import Pending

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from turnout.contracts import Embedder
    from turnout.parts import Parts
    from turnout.retrieval.catalogue import Holder

_AT_ONCE = 50  # entries that a search looks at first


@dataclass(frozen=True, slots=True)
class Entry:
    """A text with its id and with metadata of JSON values."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Entries:
    """The entries of one collection. They are documents of the library: questions can be asked over them.

    Args:
        collection: its name; it exists while it holds something.
    """

    def __init__(self, parts: Parts, collection: str) -> None:
        self._parts = parts
        self._library = parts.library
        self._collection = collection

    def put(self, entries: Iterable[Entry]) -> None:
        """Stores entries; one whose id is known replaces what it held.

        Raises:
            ConfigurationError: metadata that is not JSON, or an id that can't be one.
            DocumentError: a text holds nothing to read.
        """
        self._library.add_many([_pending(entry) for entry in entries], collection=self._collection)

    def get(self, ids: Sequence[str]) -> list[Entry]:
        """Those of the entries that there are, in the order of the ids."""
        held = {row.source: row for row in self._library.held(self._collection, ids)}
        stored = self._library.stored(row.document_id for row in held.values())
        texts = {document.id: document.text for document in stored}
        rows = [held[id_] for id_ in dict.fromkeys(ids) if id_ in held]
        return [Entry(row.source, texts[row.document_id], _metadata(row.metadata)) for row in rows]

    def remove(self, ids: Sequence[str] | None = None) -> None:
        """Removes entries, all of them without `ids`, and all that derives from them; unknown ids are fine."""
        held = self._library.held(self._collection, ids)
        if held:
            removed = self._library.release([row.source for row in held], self._collection)
            self._parts.erase(removed.segments)

    def nearest(
        self, question: str | Sequence[float], limit: int, keep: Callable[[Entry], bool] = lambda entry: True
    ) -> list[tuple[Entry, float]]:
        """Entries with the cosine of their best segment, best first.

        Args:
            question: a text, or its vector by the same embedder.
            keep: says which entries count.

        Raises:
            MissingExtraError: there is no embedder.
        """
        return [(entry, cosine) for entry, cosine, _ in self._nearest(question, limit, keep)]

    def nearest_vectors(
        self, question: str | Sequence[float], limit: int, keep: Callable[[Entry], bool] = lambda entry: True
    ) -> tuple[NDArray[np.float32], list[tuple[Entry, NDArray[np.float32]]]]:
        """As `nearest`: the question's vector, and entries with the stored vector of their best segment."""
        vector = _vector(question, self._embedder())
        found = self._nearest(vector, limit, keep)
        stored = self._library.vectors(segment.hash for _, _, segment in found)
        return vector, [(entry, stored[segment.hash]) for entry, _, segment in found if segment.hash in stored]

    def _nearest(
        self, question: str | Sequence[float] | NDArray[np.float32], limit: int, keep: Callable[[Entry], bool]
    ) -> list[tuple[Entry, float, Segment]]:
        embedder = self._embedder()
        corpus = self._parts.collection(self._collection)
        if not corpus.segments or limit < 1:
            return []
        cosines = corpus.cosines(_vector(question, embedder))
        assert cosines is not None  # noqa: S101 - there is an embedder
        best: dict[str, tuple[float, Segment]] = {}
        for segment, cosine in zip(corpus.segments, map(float, cosines), strict=True):
            id_ = segment.span.document_id
            if id_ not in best or cosine > best[id_][0]:
                best[id_] = cosine, segment
        found: list[tuple[Entry, float, Segment]] = []
        for row in self._by_likeness(sorted(best, key=lambda id_: -best[id_][0]), max(limit, _AT_ONCE)):
            entry = Entry(row.source, corpus.document(row.document_id).text, _metadata(row.metadata))
            if keep(entry):
                found.append((entry, *best[row.document_id]))
            if len(found) == limit:
                break
        return found

    def _by_likeness(self, ids: Sequence[str], at_once: int) -> Iterator[Holder]:
        """What holds the documents, which are likest first; read in portions, since most are never looked at."""
        for start in range(0, len(ids), at_once):
            some = ids[start : start + at_once]
            holders: dict[str, list[Holder]] = {}
            for row in self._library.held(self._collection, documents=some):
                holders.setdefault(row.document_id, []).append(row)
            for id_ in some:
                yield from holders.get(id_, ())

    def _embedder(self) -> Embedder:
        if self._parts.embedder is None:
            raise no_embedder()
        return self._parts.embedder


def vectors(embedder: Embedder, texts: Sequence[str], *, questions: bool) -> list[list[float]]:
    """The vectors of texts, or of questions that texts are compared with, as plain numbers."""
    from turnout.retrieval.vectors import of_question

    rows = (of_question(embedder, text) for text in texts) if questions else embedder.embed(texts)
    return [[float(value) for value in row] for row in rows]


def no_embedder() -> MissingExtraError:
    """What is raised where texts shall be compared in meaning and there is no embedder."""
    error = MissingExtraError("comparing texts in meaning", "local")
    error.hint += ", then turnout models pull; or give an embedder of your own"
    return error


def _vector(question: str | Sequence[float] | NDArray[np.float32], embedder: Embedder) -> NDArray[np.float32]:
    import numpy as np

    from turnout.retrieval.vectors import of_question

    if isinstance(question, str):
        return of_question(embedder, question)
    vector: NDArray[np.float32] = np.asarray(question, np.float32)
    length = float(np.linalg.norm(vector))
    if vector.shape != (embedder.dimension,) or not length > 0:
        raise ConfigurationError(
            f"a vector of shape {vector.shape} and length {length:g} can't be compared",
            hint=f"make it with the same embedder: {embedder.dimension} numbers, not all of them 0",
        )
    unit: NDArray[np.float32] = vector / np.float32(length)
    return unit


def _metadata(stored: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stored) if stored else {}
    return found


def _pending(entry: Entry) -> Pending:
    if entry.id in ("", "-") or storable(entry.id) != entry.id:
        raise ConfigurationError(
            f"{entry.id!r} can't be the id of a text", hint='give some text other than "-", without NUL characters'
        )
    named = entry.metadata.get("title") or title_of(str(entry.metadata.get("source") or "")) or entry.id
    document = convert_text(Text(entry.text, str(named), entry.id))
    return Pending(document, metadata=metadata_json(entry.metadata, entry.id))
