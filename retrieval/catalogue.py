"""What the library holds: listing, and finding a document by what a person would call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection

from turnout.errors import ConfigurationError, UnknownNameError
from turnout.retrieval import store
from turnout.types import Document, title_of

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
    """The documents of a collection, by title."""
    rows = connection.execute(
        sa.text(
            "SELECT documents.id, title, kind, documents.source, pages, created,"
            " (SELECT MIN(source) FROM sources WHERE document_id = documents.id AND collection = :collection) AS held,"
            ' COALESCE(MAX(segments."end"), 0) AS chars, COUNT(segments.ordinal) AS segments,'
            " COALESCE(SUM(tokens_estimate), 0) AS tokens"
            " FROM documents LEFT JOIN segments ON segments.document_id = documents.id"
            " WHERE documents.id IN (SELECT document_id FROM sources WHERE collection = :collection)"
            " GROUP BY documents.id, title, kind, documents.source, pages, created"
            " ORDER BY title, documents.id"
        ),
        {"collection": collection},
    )
    return [
        Entry(
            document_id=row.id,
            title=row.title,
            kind=row.kind,
            source=row.source if row.held == row.id else row.held,
            chars=row.chars,
            segments=row.segments,
            pages=0 if row.pages == "[]" else row.pages.count(",") + 1,
            tokens_estimate=row.tokens,
            created=row.created,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Holder:
    """A source that holds a document in a collection, with the JSON that was given with it, "" for none."""

    source: str
    document_id: str
    metadata: str


def holders(connection: Connection, collection: str, sources: Sequence[str] | None = None) -> list[Holder]:
    """What sources of a collection hold, all of them or those that are named."""
    query = "SELECT source, document_id, metadata FROM sources WHERE collection = :collection"
    if sources is None:
        rows = list(connection.execute(sa.text(query + " ORDER BY source"), {"collection": collection}))
    else:
        statement = store.within(query + " AND source IN :ids")
        parts = store.parts(list(dict.fromkeys(sources)))
        rows = [row for some in parts for row in connection.execute(statement, {"collection": collection, "ids": some})]
    return [Holder(row.source, row.document_id, row.metadata) for row in rows]


def metadata(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """The JSON that was given with documents, by id; of one that several sources hold, the first by name."""
    statement = store.within(
        "SELECT document_id, metadata FROM sources WHERE document_id IN :ids AND metadata <> ''"
        " ORDER BY source DESC, collection DESC"
    )
    parts = store.parts(ids)
    return {row.document_id: row.metadata for some in parts for row in connection.execute(statement, {"ids": some})}


def find(connection: Connection, name: str, *, cached: bool) -> Document:
    """The document with this id, beginning of an id, source, path or title.

    Args:
        cached: whether documents count that were asked about and never added.

    Raises:
        UnknownNameError: there is none; the nearest name is in the hint.
        ConfigurationError: there are several.
    """
    ids = _matches(connection, name)
    if not cached:
        ids = [id_ for id_ in ids if store.is_member(connection, id_)]
    if len(ids) == 1:
        return store.documents(connection, ids)[ids[0]]
    if ids:
        raise ConfigurationError(
            f"{name!r} is the name of {len(ids)} documents",
            hint="use an id: " + ", ".join(id_[:12] for id_ in sorted(ids)[:5]),
        )
    known = set(connection.execute(sa.text("SELECT title FROM documents")).scalars())
    raise UnknownNameError("document", name, known)


def _matches(connection: Connection, name: str) -> list[str]:
    queries = ["SELECT id FROM documents WHERE id = :name"]
    if len(name) >= SHORTEST_PREFIX and set(name) <= set("0123456789abcdef"):
        queries.append("SELECT id FROM documents WHERE id LIKE :name || '%'")
    queries += [
        "SELECT DISTINCT document_id FROM sources WHERE source IN (:name, :path)",
        "SELECT id FROM documents WHERE title = :name",
    ]
    values = {"name": name, "path": str(Path(name).absolute())}
    for query in queries:
        statement = sa.text(query)
        used = {key: value for key, value in values.items() if f":{key}" in query}
        ids = list(connection.execute(statement, used).scalars())
        if ids:
            return ids
    held = connection.execute(sa.text("SELECT DISTINCT source, document_id FROM sources"))
    return sorted({row.document_id for row in held if title_of(row.source) == name})
