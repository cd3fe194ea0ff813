"""The library's SQL: small functions over one connection, so that a caller decides what is one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from turnout.documents import Document, Segment, Span

CACHE = ""
"""The collection of documents that were asked about and never added."""

_AT_ONCE = 500  # parameters per statement: every database takes this many


def put(connection: Connection, document: Document, segments: Sequence[Segment], now: float, realm: str = "") -> None:
    """Stores a document with its segments, or marks the stored one as just used."""
    row = {
        "id": document.id,
        "title": document.title,
        "kind": document.kind,
        "source": document.source,
        "text": document.text,
        "pages": json.dumps(document.pages),
        "notes": json.dumps(document.notes),
        "realm": realm,
        "now": now,
    }
    stored = connection.execute(
        sa.text(
            "INSERT INTO documents (id, title, kind, source, text, pages, notes, realm, created, used)"
            " VALUES (:id, :title, :kind, :source, :text, :pages, :notes, :realm, :now, :now) ON CONFLICT DO NOTHING"
        ),
        row,
    ).rowcount
    if not stored:
        touch(connection, [document.id], now)
    elif segments:
        connection.execute(
            sa.text(
                'INSERT INTO segments (document_id, ordinal, start, "end", hash, tokens_estimate)'
                " VALUES (:document_id, :ordinal, :start, :stop, :hash, :tokens)"
            ),
            [
                {
                    "document_id": document.id,
                    "ordinal": ordinal,
                    "start": segment.span.start,
                    "stop": segment.span.end,
                    "hash": segment.hash,
                    "tokens": segment.tokens_estimate,
                }
                for ordinal, segment in enumerate(segments)
            ],
        )


def touch(connection: Connection, ids: Sequence[str], now: float) -> None:
    """Marks documents as just used."""
    for some in parts(ids):
        connection.execute(within("UPDATE documents SET used = :now WHERE id IN :ids"), {"now": now, "ids": some})


def hold(
    connection: Connection,
    collection: str,
    source: str,
    document_id: str,
    file_hash: str,
    converter: str,
    metadata: str = "",
    title: str = "",
) -> str | None:
    """Makes `source` hold a document in a collection, under a title; returns the id that it held before."""
    key = {"collection": collection, "source": source}
    before: str | None = connection.execute(
        sa.text("SELECT document_id FROM sources WHERE collection = :collection AND source = :source"), key
    ).scalar()
    connection.execute(
        sa.text(
            "INSERT INTO sources (collection, source, document_id, file_hash, converter, metadata, title)"
            " VALUES (:collection, :source, :document_id, :file_hash, :converter, :metadata, :title)"
            " ON CONFLICT (collection, source) DO UPDATE SET document_id = excluded.document_id,"
            " file_hash = excluded.file_hash, converter = excluded.converter, metadata = excluded.metadata,"
            " title = excluded.title"
        ),
        {
            **key,
            "document_id": document_id,
            "file_hash": file_hash,
            "converter": converter,
            "metadata": metadata,
            "title": title,
        },
    )
    return before


def release(connection: Connection, collection: str, source: str) -> set[str]:
    """Takes a source out of a collection; returns the ids that it held."""
    key = {"collection": collection, "source": source}
    where = " FROM sources WHERE collection = :collection AND source = :source"
    held = set(connection.execute(sa.text("SELECT document_id" + where), key).scalars())
    connection.execute(sa.text("DELETE" + where), key)
    return held


def release_from(connection: Connection, collection: str, ids: Sequence[str]) -> None:
    """Takes documents out of one collection."""
    query = within("DELETE FROM sources WHERE collection = :collection AND document_id IN :ids")
    for some in parts(ids):
        connection.execute(query, {"collection": collection, "ids": some})


def elsewhere(connection: Connection, collection: str, ids: Sequence[str]) -> set[str]:
    """Those of the documents that another collection has."""
    query = within(
        "SELECT document_id FROM sources WHERE collection NOT IN (:cache, :collection) AND document_id IN :ids"
    )
    given = {"cache": CACHE, "collection": collection}
    return {id_ for some in parts(ids) for id_ in connection.execute(query, {**given, "ids": some}).scalars()}


def release_all(connection: Connection, ids: Sequence[str]) -> None:
    """Takes documents out of every collection."""
    for some in parts(ids):
        connection.execute(within("DELETE FROM sources WHERE document_id IN :ids"), {"ids": some})


def with_cached_versions(connection: Connection, ids: Sequence[str]) -> list[str]:
    """The stored ones among `ids`, and what the cache alone holds of the same sources (earlier versions)."""
    query = within(
        "SELECT id FROM documents WHERE id IN :ids UNION SELECT document_id FROM sources AS held WHERE source IN"
        " (SELECT source FROM sources WHERE document_id IN :ids) AND NOT EXISTS (SELECT 1 FROM sources"
        " WHERE sources.document_id = held.document_id AND sources.collection <> :cache)"
    )
    found = {id_ for some in parts(ids) for id_ in connection.execute(query, {"ids": some, "cache": CACHE}).scalars()}
    return sorted(found)


def is_held(connection: Connection, collection: str, document_id: str) -> bool:
    """Whether a collection has a document."""
    found = connection.execute(
        sa.text("SELECT 1 FROM sources WHERE collection = :collection AND document_id = :id LIMIT 1"),
        {"collection": collection, "id": document_id},
    )
    return found.scalar() is not None


def is_member(connection: Connection, document_id: str) -> bool:
    """Whether a document was added to some collection."""
    found = connection.execute(
        sa.text("SELECT 1 FROM sources WHERE collection <> :cache AND document_id = :id LIMIT 1"),
        {"cache": CACHE, "id": document_id},
    )
    return found.scalar() is not None


def not_held(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Those of the documents that nothing holds."""
    query = within(
        "SELECT id FROM documents WHERE id IN :ids"
        " AND NOT EXISTS (SELECT 1 FROM sources WHERE sources.document_id = documents.id)"
    )
    return [id_ for some in parts(ids) for id_ in connection.execute(query, {"ids": some}).scalars()]


def purge(connection: Connection, ids: Iterable[str]) -> None:
    """Deletes those of the documents that nothing holds, and all that derives from them alone."""
    for some in parts(sorted(set(ids))):
        free = not_held(connection, some)
        loose = sorted(hashes(connection, free))
        connection.execute(within("DELETE FROM documents WHERE id IN :ids"), {"ids": free})
        for part in parts(loose):
            connection.execute(
                within(
                    "DELETE FROM vectors WHERE hash IN :ids"
                    " AND NOT EXISTS (SELECT 1 FROM segments WHERE segments.hash = vectors.hash)"
                ),
                {"ids": part},
            )


def prune(connection: Connection, keep: int, needed: Iterable[str], realm: str = "") -> None:
    """Bounds the cache: drops all but the `keep` most recently used documents of a realm that only the cache holds."""
    rows = connection.execute(
        sa.text(
            "SELECT documents.id FROM documents WHERE NOT EXISTS (SELECT 1 FROM sources"
            " WHERE sources.document_id = documents.id AND sources.collection <> :cache) AND realm = :realm"
            " ORDER BY used DESC, id"
        ),
        {"cache": CACHE, "realm": realm},
    )
    spared = set(needed)
    old = [id_ for id_ in rows.scalars().all()[keep:] if id_ not in spared]
    release_all(connection, old)
    purge(connection, old)


def documents(connection: Connection, ids: Sequence[str]) -> dict[str, Document]:
    """The stored ones among `ids`."""
    return {
        row.id: document(row)
        for some in parts(ids)
        for row in connection.execute(within("SELECT * FROM documents WHERE id IN :ids"), {"ids": some})
    }


def document(row: Any) -> Document:
    """A row of the table `documents` as a Document."""
    return Document(
        row.id,
        row.title,
        row.text,
        row.source,
        row.kind,
        tuple(json.loads(row.pages)),
        tuple(json.loads(row.notes)),
    )


def segments(connection: Connection, ids: Sequence[str]) -> dict[str, list[Segment]]:
    """The segments of each document that is stored, in document order."""
    out: dict[str, list[Segment]] = {}
    for some in parts(ids):
        for row in connection.execute(
            within(
                'SELECT document_id, start, "end" AS stop, hash, tokens_estimate FROM segments'
                " WHERE document_id IN :ids ORDER BY document_id, ordinal"
            ),
            {"ids": some},
        ):
            span = Span(row.document_id, row.start, row.stop)
            out.setdefault(row.document_id, []).append(Segment(span, row.hash, row.tokens_estimate))
    return out


def hashes(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of the segments of documents."""
    query = within("SELECT DISTINCT hash FROM segments WHERE document_id IN :ids")
    return {h for some in parts(ids) for h in connection.execute(query, {"ids": some}).scalars()}


def known_hashes(connection: Connection, hashes: Sequence[str]) -> set[str]:
    """Those of the hashes that some stored segment has."""
    query = within("SELECT DISTINCT hash FROM segments WHERE hash IN :ids")
    return {h for some in parts(hashes) for h in connection.execute(query, {"ids": some}).scalars()}


def vector_ids(connection: Connection, hashes: Sequence[str], fingerprint: str) -> dict[str, int]:
    """Ids of the vectors that are stored for the hashes."""
    query = within("SELECT hash, id FROM vectors WHERE fingerprint = :fingerprint AND hash IN :ids")
    return {
        row.hash: row.id
        for some in parts(hashes)
        for row in connection.execute(query, {"fingerprint": fingerprint, "ids": some})
    }


def vectors(connection: Connection, hashes: Sequence[str], fingerprint: str) -> dict[str, bytes]:
    """The packed vectors that are stored for the hashes."""
    query = within("SELECT hash, vector FROM vectors WHERE fingerprint = :fingerprint AND hash IN :ids")
    return {
        row.hash: row.vector
        for some in parts(hashes)
        for row in connection.execute(query, {"fingerprint": fingerprint, "ids": some})
    }


def put_vectors(connection: Connection, packed: dict[str, bytes], fingerprint: str) -> None:
    """Stores vectors of stored segments. One that is there keeps its id; one that no segment needs is left out."""
    if packed:
        connection.execute(
            sa.text(
                "INSERT INTO vectors (hash, fingerprint, vector) SELECT :hash, :fingerprint, :vector"
                " WHERE EXISTS (SELECT 1 FROM segments WHERE hash = :hash) ON CONFLICT DO NOTHING"
            ),
            [{"hash": h, "fingerprint": fingerprint, "vector": v} for h, v in packed.items()],
        )


def forget_content(connection: Connection, ids: Sequence[str]) -> None:
    """Takes questions and texts out of the ledger for all answers that read one of the documents, or an earlier
    version of one of their sources, which in a collection that is kept apart is one of there."""
    read_one = (
        " IN (SELECT answer_id FROM answer_documents WHERE document_id IN :ids UNION"
        " SELECT answer_id FROM answer_documents JOIN answers AS asked ON asked.id = answer_id WHERE"
        " COALESCE((SELECT name FROM collections WHERE name = asked.collection AND salt <> ''), '') IN"
        " (SELECT realm FROM documents WHERE id IN :ids)"
        " AND (source IN (SELECT source FROM sources WHERE document_id IN :ids)"
        " OR source IN (SELECT source FROM documents WHERE id IN :ids)))"
    )
    for some in parts(ids):
        for statement in (
            "UPDATE answers SET content = NULL, question = NULL WHERE id",
            "UPDATE counterfactuals SET content = NULL WHERE answer_id",
        ):
            connection.execute(within(statement + read_one), {"ids": some})


def converted(connection: Connection, file_hash: str, converter: str, source: str, realm: str = "") -> Document | None:
    """The document of a realm that a converter made of a file, preferably of this source."""
    row = connection.execute(
        sa.text(
            "SELECT documents.* FROM documents JOIN sources ON sources.document_id = documents.id"
            " WHERE file_hash = :file_hash AND converter = :converter AND realm = :realm"
            " ORDER BY CASE WHEN sources.source = :source THEN 0 ELSE 1 END LIMIT 1"
        ),
        {"file_hash": file_hash, "converter": converter, "source": source, "realm": realm},
    ).first()
    return document(row) if row else None


def token_count(connection: Connection, document_id: str, fingerprint: str) -> int | None:
    """The stored number of tokens of a document for a model."""
    count: int | None = connection.execute(
        sa.text("SELECT tokens FROM token_counts WHERE document_id = :id AND fingerprint = :fingerprint"),
        {"id": document_id, "fingerprint": fingerprint},
    ).scalar()
    return count


def set_token_count(connection: Connection, document_id: str, fingerprint: str, tokens: int) -> None:
    """Stores it, where the document is stored."""
    connection.execute(
        sa.text(
            "INSERT INTO token_counts (document_id, fingerprint, tokens)"
            " SELECT id, :fingerprint, :tokens FROM documents WHERE id = :id"
            " ON CONFLICT (document_id, fingerprint) DO UPDATE SET tokens = excluded.tokens"
        ),
        {"id": document_id, "fingerprint": fingerprint, "tokens": tokens},
    )


def within(statement: str) -> sa.TextClause:
    """A statement with "IN :ids"."""
    return sa.text(statement).bindparams(sa.bindparam("ids", expanding=True))


def parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """The values in portions that one statement takes."""
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
