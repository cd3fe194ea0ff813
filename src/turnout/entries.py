"""Texts of a collection under ids that the caller chooses, found again by id or by likeness in meaning."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from turnout.checks import metadata_json
from turnout.errors import ConfigurationError, MissingExtraError
from turnout.retrieval.convert import convert_text
from turnout.retrieval.pending import Pending
from turnout.types import Text, title_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from turnout.contracts import Embedder
    from turnout.parts import Parts


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
            ConfigurationError: metadata that is not JSON.
            DocumentError: a text holds nothing to read.
        """
        self._library.add_many([_pending(entry) for entry in entries], collection=self._collection)

    def get(self, ids: Sequence[str]) -> list[Entry]:
        """Those of the entries that there are, in the order of the ids."""
        held = {row.source: row for row in self._library.held(self._collection, ids)}
        documents = self._library.texts(row.document_id for row in held.values())
        rows = [held[id_] for id_ in dict.fromkeys(ids) if id_ in held]
        return [Entry(row.source, documents[row.document_id], _metadata(row.metadata)) for row in rows]

    def remove(self, ids: Sequence[str] | None = None) -> None:
        """Removes entries, all of them without `ids`, and all that derives from them; unknown ids are fine."""
        held = self._library.held(self._collection, ids)
        if held:
            self._library.release([row.source for row in held], self._collection)
            self._parts.forget()
            self._parts.erase_prompts()

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
        embedder = self._embedder()
        corpus = self._parts.corpus(self._library.documents(self._collection))
        if not corpus.segments or limit < 1:
            return []
        best: dict[str, float] = {}
        cosines = corpus.cosines(_vector(question, embedder))
        assert cosines is not None  # noqa: S101 - there is an embedder
        for segment, cosine in zip(corpus.segments, cosines, strict=True):
            id_ = segment.span.document_id
            best[id_] = max(best.get(id_, -1.0), float(cosine))
        found: list[tuple[Entry, float]] = []
        for entry, document_id in self._by_likeness(best):
            text = corpus.document(document_id).text
            whole = Entry(entry.source, text, _metadata(entry.metadata))
            if keep(whole):
                found.append((whole, best[document_id]))
            if len(found) == limit:
                break
        return found

    def _by_likeness(self, best: Mapping[str, float]) -> Iterator[tuple[Any, str]]:
        holders: dict[str, list[Any]] = {}
        for row in self._library.held(self._collection):
            holders.setdefault(row.document_id, []).append(row)
        for document_id in sorted(best, key=lambda id_: -best[id_]):
            for row in holders.get(document_id, ()):
                yield row, document_id

    def _embedder(self) -> Embedder:
        if self._parts.embedder is None:
            raise no_embedder()
        return self._parts.embedder


def no_embedder() -> MissingExtraError:
    """What is raised where texts shall be compared in meaning and there is no embedder."""
    error = MissingExtraError("comparing texts in meaning", "local")
    error.hint += ", then turnout models pull; or give an embedder of your own"
    return error


def _vector(question: str | Sequence[float], embedder: Embedder) -> NDArray[np.float32]:
    import numpy as np

    if isinstance(question, str):
        return embedder.embed([question])[0]
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
    named = entry.metadata.get("title") or title_of(str(entry.metadata.get("source") or "")) or entry.id
    document = convert_text(Text(entry.text, str(named), entry.id))
    return Pending(document, metadata=metadata_json(entry.metadata, entry.id))
