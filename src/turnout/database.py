"""The one SQL database: connections, transactions, numbered migrations. SQLite here; the statements are portable."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError

from turnout.config import Settings
from turnout.errors import StoreError
from turnout.migrations import MIGRATIONS

BUSY_TIMEOUT_S = 60.0
"""How long a writer waits for another process's transaction. Transactions here last well under a second."""


class Database:
    """A pooled connection to the database file.

    Args:
        path: the SQLite file; it is created, with its schema, by `open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine: sa.Engine | None = None

    @classmethod
    def at(cls, settings: Settings) -> Database:
        """The database of a data directory, opened; the directory is created when missing."""
        settings.ensure_home()
        database = cls(settings.database)
        database.open()
        return database

    def open(self) -> None:
        """Connects and brings the schema up to date; safe to call twice.

        Raises:
            StoreError: the file is damaged, not writable, or from a newer version.
        """
        if self._engine is not None:
            return
        engine = sa.create_engine(f"sqlite:///{self.path}", connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        try:
            with _explained(self.path), engine.execution_options(immediate=True).begin() as connection:
                _migrate(connection, self.path)
        except StoreError:
            engine.dispose()
            raise
        self.path.chmod(0o600)
        self._engine = engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A read transaction: one consistent view, never blocked by a writer."""
        with _explained(self.path), self._connected().connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A write transaction: all or nothing, and the only writer while it lasts."""
        with _explained(self.path), self._connected().execution_options(immediate=True).begin() as connection:
            yield connection

    def compact(self) -> None:
        """Overwrites what was deleted: empties the write-ahead log, so that no removed text stays in it."""
        with self.read() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def _connected(self) -> sa.Engine:
        if self._engine is None:
            self.open()
        assert self._engine is not None  # noqa: S101 - set by open
        return self._engine


def _configure(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling is switched off: `_begin` says when a transaction starts and of which kind.
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    # SQLite does not wait for a lock while it changes the journal mode, as two processes do that open a new file.
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _begin(connection: sa.Connection) -> None:
    # A reader that later writes can deadlock with another such reader; writers therefore take the lock at once.
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _migrate(connection: sa.Connection, path: Path) -> None:
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY)")
    version = connection.exec_driver_sql("SELECT MAX(version) FROM schema_version").scalar() or 0
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer turnout (schema {version}, this one knows {len(MIGRATIONS)})",
            hint="upgrade turnout, or set TURNOUT_HOME to another folder",
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("INSERT INTO schema_version (version) VALUES (?)", (number,))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        reason = str(error.orig)
        if "locked" in reason:
            raise StoreError(
                f"{path} is busy: another process held it for over {BUSY_TIMEOUT_S:.0f} s", retryable=True
            ) from error
        if "full" in reason:
            raise StoreError(f"no space left for {path}", hint="free some space; nothing was changed") from error
        raise StoreError(
            f"{path} can't be used: {reason}", hint="check the folder's permissions, or set TURNOUT_HOME"
        ) from error
    except DatabaseError as error:
        raise StoreError(
            f"{path} is damaged: {error.orig}",
            hint="move it away and add the documents again; the documents themselves are untouched",
        ) from error
