"""Takes answers out of the ledger: by age, by document, or all of them, with everything that stands beside them."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import sqlalchemy as sa

from turnout.database import Database
from turnout.errors import ConfigurationError, UnknownNameError
from turnout.retrieval.library import Library

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


def chosen(
    database: Database, *, older_than_s: float | None = None, document: tuple[str, str] | None = None
) -> list[str]:
    """The ids of the answers that are meant: all of them by default.

    Args:
        document: id and source: answers over it, or over another version of the same source.
    """
    given: dict[str, Any]
    if older_than_s is not None:
        where, given = " WHERE created < :before", {"before": time.time() - older_than_s}
    elif document is not None:
        where = (
            " WHERE id IN (SELECT answer_id FROM answer_documents WHERE document_id = :id"
            " OR (source = :source AND source NOT IN ('', '-')))"
        )
        given = dict(zip(("id", "source"), document, strict=True))
    else:
        where, given = "", {}
    with database.read() as connection:
        return list(connection.execute(sa.text(f"SELECT id FROM answers{where}"), given).scalars())


def purge(database: Database, ids: list[str]) -> int:
    """Deletes answers with their verdicts and what other strategies answered; how many there were. What was deleted is
    overwritten."""
    gone = 0
    with database.write() as connection:
        for id_ in ids:
            gone += connection.execute(sa.text("DELETE FROM answers WHERE id = :id"), {"id": id_}).rowcount
    database.compact()
    return gone


def document_of(name: str, library: Library, database: Database) -> tuple[str, str]:
    """Id and source of a document by id, title or source; of one that the library has no more, as the ledger has it.

    Raises:
        UnknownNameError: neither knows it.
    """
    try:
        found = library.get(name)
    except UnknownNameError:
        query = "SELECT document_id, source FROM answer_documents WHERE document_id = :name OR source = :name LIMIT 1"
        with database.read() as connection:
            row = connection.execute(sa.text(query), {"name": name}).first()
        if row is None:
            raise
        return row.document_id, row.source
    return found.id, found.source
