"""Tokens of the server: who may do what in which collections. A token itself is shown once and never kept."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from turnout.config import Settings
from turnout.database import Database
from turnout.errors import ConfigurationError, UnknownNameError

RIGHTS = ("read", "write", "metrics")
"""To list, read and ask; to upload, delete and judge; to see what the server measures of everybody."""

PREFIX = "turnout_"
SECRET_BYTES = 32

_NAME = re.compile(r"[\w.@-]{1,64}")
_COLUMNS = "SELECT id, name, collections, rights, per_minute, at_once, created FROM tokens"


@dataclass(frozen=True, slots=True)
class Token:
    """What a token allows: `collections`, the first of which is meant where none is named, and `rights` of RIGHTS; at
    most `per_minute` requests, and `at_once` questions together, None for no limit of its own."""

    id: str
    name: str
    collections: tuple[str, ...]
    rights: tuple[str, ...]
    per_minute: int | None
    at_once: int | None
    created: float


class Tokens:
    """The tokens of a data directory.

    A token is 256 random bits, so its SHA-256 tells nothing of it: no salt or slow hash is needed, as for passwords.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, **options: Any) -> Tokens:
        """Those of the data directory of `Settings.load(**options)`."""
        return cls(Database.at(Settings.load(**options)))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create(
        self,
        name: str,
        collections: Sequence[str],
        rights: Sequence[str] = ("read", "write"),
        *,
        per_minute: int | None = None,
        at_once: int | None = None,
    ) -> tuple[Token, str]:
        """A new token, and what its holder sends: the only time that it is seen.

        Raises:
            ConfigurationError: the name is taken or can't be one, there is no collection, or a limit allows nothing.
            UnknownNameError: there is no such right.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} can't be the name of a token", hint="use 1 to 64 letters, digits, and any of . _ - @"
            )
        if not collections or not all(each.strip() and each.isprintable() for each in collections):
            raise ConfigurationError(
                f"the collections of a token are {list(collections)!r}", hint="name at least one: --in NAME"
            )
        for right in rights:
            if right not in RIGHTS:
                raise UnknownNameError("right", right, RIGHTS)
        for limit in (per_minute, at_once):
            if limit is not None and limit < 1:
                raise ConfigurationError(f"a limit of {limit} allows nothing", hint="give 1 or more, or leave it out")
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        row = {
            "id": secrets.token_hex(4),
            "name": name,
            "digest": _digest(secret),
            "collections": json.dumps(list(dict.fromkeys(collections))),
            "rights": json.dumps(list(dict.fromkeys(rights))),
            "per_minute": per_minute,
            "at_once": at_once,
            "created": time.time(),
        }
        with self._database.write() as connection:
            if connection.execute(sa.text("SELECT 1 FROM tokens WHERE name = :name"), {"name": name}).scalar():
                raise ConfigurationError(
                    f"there is a token {name!r} already", hint=f"turnout token revoke {name}, or use another name"
                )
            connection.execute(
                sa.text(
                    "INSERT INTO tokens (id, name, digest, collections, rights, per_minute, at_once, created) VALUES"
                    " (:id, :name, :digest, :collections, :rights, :per_minute, :at_once, :created)"
                ),
                row,
            )
        return _token(row), secret

    def list(self) -> list[Token]:
        """All of them, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.text(f"{_COLUMNS} ORDER BY created, name")).mappings().all()
        return [_token(row) for row in rows]

    def revoke(self, name: str) -> Token:
        """Ends a token, by its name or id; the next request with it is refused.

        Raises:
            UnknownNameError: there is none.
        """
        with self._database.write() as connection:
            row = (
                connection.execute(sa.text(f"{_COLUMNS} WHERE :name IN (name, id)"), {"name": name}).mappings().first()
            )
            if row is not None:
                connection.execute(sa.text("DELETE FROM tokens WHERE id = :id"), {"id": row["id"]})
                return _token(row)
        raise UnknownNameError("token", name, [token.name for token in self.list()])

    def find(self, secret: str) -> Token | None:
        """The token that this is; None for none."""
        with self._database.read() as connection:
            query = sa.text(f"{_COLUMNS} WHERE digest = :digest")
            row = connection.execute(query, {"digest": _digest(secret)}).mappings().first()
        return None if row is None else _token(row)

    def any(self) -> bool:
        """Whether there is one."""
        with self._database.read() as connection:
            return connection.execute(sa.text("SELECT 1 FROM tokens LIMIT 1")).scalar() is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _token(row: Mapping[str, Any] | sa.RowMapping) -> Token:
    return Token(
        row["id"],
        row["name"],
        tuple(json.loads(row["collections"])),
        tuple(json.loads(row["rights"])),
        row["per_minute"],
        row["at_once"],
        row["created"],
    )
