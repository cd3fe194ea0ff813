"""Takes answers out of the ledger: by age, by document, or all of them, with everything that stands beside them."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from turnout.database import Database
from turnout.errors import ConfigurationError, UnknownNameError
from turnout.retrieval.library import Library
from turnout.retrieval.store import realm_of

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def age_s(age: str | float) -> float:
    """Seconds of an age: as such, or "30d", a number with s, m, h, d or w.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(age, int | float):
        if not 0 <= age < math.inf:
            raise ConfigurationError(f"{age!r} is no age in seconds", hint="give a number of 0 or more")
        return float(age)
    match = _AGE.fullmatch(age.strip().lower())
    if match is None:
        raise ConfigurationError(f"{age!r} is no age", hint="for example 30d, 12h or 8w")
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class Named:
    """A document that answers were over; `realms` are the collections kept apart whose versions of its source are
    meant, "" for what belongs to none."""

    id: str
    source: str
    realms: tuple[str, ...]


def chosen(
    database: Database,
    *,
    older_than_s: float | None = None,
    document: Named | None = None,
    collection: str | None = None,
) -> list[str]:
    """The ids of the answers that are meant: all of them by default.

    Args:
        document: answers over it, or over another version of the same source.
        collection: only answers for which it was named.
    """
    query = "SELECT id FROM answers WHERE (:collection IS NULL OR collection = :collection)"
    given: dict[str, Any] = {"collection": collection}
    if older_than_s is not None:
        query += " AND created < :before"
        given |= {"before": time.time() - older_than_s}
    elif document is not None:
        query += (
            " AND (id IN (SELECT answer_id FROM answer_documents WHERE document_id = :id)"
            f" OR ({realm_of('collection')} IN :realms AND id IN (SELECT answer_id FROM answer_documents"
            " WHERE source = :source AND source NOT IN ('', '-'))))"
        )
        given |= dataclasses.asdict(document)
    statement = sa.text(query)
    if document is not None:
        statement = statement.bindparams(sa.bindparam("realms", expanding=True))
    with database.read() as connection:
        return list(connection.execute(statement, given).scalars())


def purge(database: Database, ids: list[str]) -> int:
    """Deletes answers with their verdicts and what other strategies answered; how many there were. What was deleted is
    overwritten."""
    gone = 0
    with database.write() as connection:
        for id_ in ids:
            gone += connection.execute(sa.text("DELETE FROM answers WHERE id = :id"), {"id": id_}).rowcount
    database.compact()
    return gone


def named(name: str, library: Library, database: Database, collection: str | None = None) -> Named:
    """A document by id, title or source; one that the library has no more, as the ledger has it.

    Args:
        collection: none of others is meant.

    Raises:
        UnknownNameError: neither knows it.
    """
    try:
        found = library.get(name, collection=collection)
    except UnknownNameError:
        query = (
            f"SELECT DISTINCT document_id, source, {realm_of('collection')} AS realm"
            " FROM answer_documents JOIN answers ON answers.id = answer_id"
            " WHERE (document_id = :name OR source = :name) AND (:collection IS NULL OR collection = :collection)"
        )
        with database.read() as connection:
            rows = connection.execute(sa.text(query), {"name": name, "collection": collection}).all()
        if not rows:
            raise
        return Named(rows[0].document_id, rows[0].source, tuple({row.realm for row in rows}))
    with database.read() as connection:
        realm = connection.execute(sa.text("SELECT realm FROM documents WHERE id = :id"), {"id": found.id}).scalar()
    return Named(found.id, found.source, (realm or "",))
