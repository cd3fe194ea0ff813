"""What the library holds: listing, and finding a document by what a person would call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from turnout.documents import Document, title_of
from turnout.errors import ConfigurationError, UnknownNameError
from turnout.retrieval import store

SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One document of a collection, without its text. `chars` and `tokens_estimate` measure the text; `created` is in
    seconds since 1970; `pages` is 0 where the source has none."""

    document_id: str
    title: str
    kind: str
    source: str
    chars: int
    segments: int
    pages: int
    tokens_estimate: int
    created: float


def entries(connection: Connection, collection: str) -> list[Entry]:
    """The documents of a collection, by title; one that several sources hold is called as the first of them does."""
    rows = connection.execute(
        sa.text(
            "SELECT documents.id, documents.title, kind, pages, created,"
            " (SELECT MIN(source) FROM sources WHERE document_id = documents.id AND collection = :collection) AS held,"
            " (SELECT title FROM sources WHERE document_id = documents.id AND collection = :collection"
            " ORDER BY source LIMIT 1) AS called,"
            ' COALESCE(MAX(segments."end"), 0) AS chars, COUNT(segments.ordinal) AS segments,'
            " COALESCE(SUM(tokens_estimate), 0) AS tokens"
            " FROM documents LEFT JOIN segments ON segments.document_id = documents.id"
            " WHERE documents.id IN (SELECT document_id FROM sources WHERE collection = :collection)"
            " GROUP BY documents.id, documents.title, kind, pages, created"
        ),
        {"collection": collection},
    )
    found = [
        Entry(
            document_id=row.id,
            title=row.called or row.title,
            kind=row.kind,
            source="" if row.held == row.id else row.held,
            chars=row.chars,
            segments=row.segments,
            pages=0 if row.pages == "[]" else row.pages.count(",") + 1,
            tokens_estimate=row.tokens,
            created=row.created,
        )
        for row in rows
    ]
    return sorted(found, key=lambda entry: (entry.title, entry.document_id))


def members(connection: Connection, collection: str) -> list[str]:
    """The ids of a collection's documents, in order."""
    query = "SELECT DISTINCT document_id FROM sources WHERE collection = :collection ORDER BY document_id"
    return list(connection.execute(sa.text(query), {"collection": collection}).scalars())


@dataclass(frozen=True, slots=True)
class Holder:
    """A source that holds a document in a collection, with the JSON that was given with it, "" for none, and what it
    calls the document, "" for the document's own title."""

    source: str
    document_id: str
    metadata: str
    title: str

    def named(self, document: Document) -> Document:
        """The document as this source has it."""
        source = "" if self.source == document.id else self.source
        return replace(document, title=self.title or document.title, source=source)


def holders(
    connection: Connection,
    collection: str,
    sources: Sequence[str] | None = None,
    documents: Sequence[str] | None = None,
) -> list[Holder]:
    """What sources of a collection hold, by source: all of them, those that are named, or those that hold documents."""
    query = "SELECT source, document_id, metadata, title FROM sources WHERE collection = :collection"
    if sources is None and documents is None:
        rows = list(connection.execute(sa.text(query), {"collection": collection}))
    else:
        column, wanted = ("document_id", documents) if sources is None else ("source", sources)
        statement = store.within(f"{query} AND {column} IN :ids")
        parts = store.parts(list(dict.fromkeys(wanted or ())))
        rows = [row for some in parts for row in connection.execute(statement, {"collection": collection, "ids": some})]
    found = [Holder(row.source, row.document_id, row.metadata, row.title) for row in rows]
    return sorted(found, key=lambda holder: holder.source)


def metadata(connection: Connection, sources: Mapping[str, str]) -> dict[str, str]:
    """The JSON that was given with documents of the library, by id; none for one with which several were given.

    Args:
        sources: those of the documents, by id. Where a source holds its document, what others say does not count.
    """
    statement = store.within(
        "SELECT source, document_id, metadata FROM sources WHERE document_id IN :ids AND collection <> :cache"
    )
    said: dict[str, dict[bool, set[str]]] = {id_: {True: set(), False: set()} for id_ in sources}
    for some in store.parts(list(sources)):
        for row in connection.execute(statement, {"ids": some, "cache": store.CACHE}):
            said[row.document_id][row.source == (sources[row.document_id] or row.document_id)].add(row.metadata)
    counted = {id_: by_own[True] or by_own[False] for id_, by_own in said.items()}
    return {id_: next(iter(given)) for id_, given in counted.items() if len(given) == 1}


def find(connection: Connection, name: str, *, cached: bool, collection: str | None = None) -> Document:
    """The document with this id, beginning of an id, source, path or title.

    Args:
        cached: whether documents count that were asked about and never added.
        collection: only what it has counts, and what was asked about in it where it is kept apart.

    Raises:
        UnknownNameError: there is none; the nearest name is in the hint.
        ConfigurationError: there are several.
    """
    within = "" if collection is None else _CACHED_WITHIN if cached else _WITHIN
    ids = _matches(connection, name, within, collection)
    if not cached:
        ids = [id_ for id_ in ids if store.is_member(connection, id_)]
    if len(ids) == 1:
        return _as_named(connection, store.documents(connection, ids)[ids[0]], name, collection)
    if ids:
        raise ConfigurationError(
            f"{name!r} is the name of {len(ids)} documents",
            hint="use an id: " + ", ".join(id_[:12] for id_ in sorted(ids)[:5]),
        )
    titles = f"SELECT title FROM documents WHERE id IN ({within})" if within else "SELECT title FROM documents"
    known = set(connection.execute(sa.text(titles), {"collection": collection} if within else {}).scalars())
    raise UnknownNameError("document", name, known)


_WITHIN = "SELECT document_id FROM sources WHERE collection = :collection"
_CACHED_WITHIN = _WITHIN + " UNION SELECT id FROM documents WHERE realm = :collection"


def _as_named(connection: Connection, document: Document, name: str, collection: str | None) -> Document:
    """The document as the source has it that is meant by the name."""
    query = sa.text(
        "SELECT source, document_id, metadata, title FROM sources WHERE document_id = :id AND collection <> :cache"
        + ("" if collection is None else " AND collection = :collection")
        + " ORDER BY source"
    )
    given = {"id": document.id, "cache": store.CACHE} | ({} if collection is None else {"collection": collection})
    for row in connection.execute(query, given):
        if name in (row.title, row.source, title_of(row.source)) or str(Path(name).absolute()) == row.source:
            return Holder(row.source, row.document_id, row.metadata, row.title).named(document)
    return document


def _matches(connection: Connection, name: str, within: str, collection: str | None) -> list[str]:
    only, held = (f" AND id IN ({within})", f" AND document_id IN ({within})") if within else ("", "")
    queries = ["SELECT id FROM documents WHERE id = :name" + only]
    if len(name) >= SHORTEST_PREFIX and set(name) <= set("0123456789abcdef"):
        queries.append("SELECT id FROM documents WHERE id LIKE :name || '%'" + only)
    # What a source calls its document says nothing of what another collection calls it.
    here = " AND collection = :collection" if within else " AND collection <> ''"
    queries += [
        "SELECT DISTINCT document_id FROM sources WHERE source IN (:name, :path)" + (here + held if within else ""),
        f"SELECT id FROM documents WHERE title = :name{only}"
        f" UNION SELECT document_id FROM sources WHERE title = :name{here}{held}",
    ]
    values = {"name": name, "path": str(Path(name).absolute()), "collection": collection}
    for query in queries:
        statement = sa.text(query)
        used = {key: value for key, value in values.items() if f":{key}" in query}
        ids = list(connection.execute(statement, used).scalars())
        if ids:
            return ids
    every = "SELECT DISTINCT source, document_id FROM sources" + (" WHERE collection = :collection" if within else "")
    sources = connection.execute(sa.text(every), {"collection": collection} if within else {})
    return sorted({row.document_id for row in sources if title_of(row.source) == name})
