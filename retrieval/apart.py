"""Collections that are kept apart: the salt of each, which gives its documents and segments identities of their own.

Equal texts of two such collections share nothing: no vector, no soft token, no keys and values. So neither what one
holds nor what was asked there shows in the other, not even by how long something takes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Connection

from turnout.documents import Document
from turnout.retrieval import store
from turnout.retrieval.convert import document_id

SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Realm:
    """What a document belongs to: `name` of a collection that is kept apart and its `salt`, both "" for none."""

    name: str = ""
    salt: str = ""

    def own(self, document: Document) -> Document:
        """The document under the identity that it has here; safe to call twice."""
        if not self.salt:
            return document
        return replace(document, id=document_id(document.kind, document.text, document.pages, self.salt))


OPEN = Realm()
"""Of documents that share what is computed of them: those of no collection, and of collections without a salt."""


def found(connection: Connection, collection: str) -> Realm | None:
    """The realm of a collection; None where nobody has used it yet."""
    salt = connection.execute(
        sa.text("SELECT salt FROM collections WHERE name = :name"), {"name": collection}
    ).scalar_one_or_none()
    return None if salt is None else Realm(collection, salt) if salt else OPEN


def made(connection: Connection, collection: str, *, shared: bool, now: float) -> Realm:
    """The realm of a collection, which is decided by its first use.

    Args:
        shared: a new one shall have no salt.
    """
    salt = "" if shared else secrets.token_hex(SALT_BYTES)
    connection.execute(
        sa.text("INSERT INTO collections (name, salt, created) VALUES (:name, :salt, :now) ON CONFLICT DO NOTHING"),
        {"name": collection, "salt": salt, "now": now},
    )
    realm = found(connection, collection)
    assert realm is not None  # noqa: S101 - it was just written
    return realm


def salts(connection: Connection, documents: list[str]) -> list[str]:
    """The salts of stored documents, each once, in order; without the empty one."""
    query = store.within(
        "SELECT DISTINCT salt FROM documents JOIN collections ON name = realm WHERE documents.id IN :ids AND salt <> ''"
    )
    return sorted(
        {salt for some in store.parts(documents) for salt in connection.execute(query, {"ids": some}).scalars()}
    )


def names(connection: Connection) -> list[tuple[str, bool, int]]:
    """Every collection that holds something: its name, whether it is kept apart, and how many documents it has."""
    rows = connection.execute(
        sa.text(
            "SELECT collection, COALESCE(MAX(salt), '') AS salt, COUNT(DISTINCT document_id) AS documents FROM sources"
            " LEFT JOIN collections ON name = collection WHERE collection <> :cache GROUP BY collection"
            " ORDER BY collection"
        ),
        {"cache": store.CACHE},
    )
    return [(row.collection, bool(row.salt), row.documents) for row in rows]
