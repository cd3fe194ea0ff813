"""Opening the database beside other processes."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import sqlalchemy as sa

from turnout.database import Database
from turnout.migrations import MIGRATIONS
from turnout.retrieval import catalogue


def test_a_new_file_that_another_process_holds_is_waited_for(home: Path) -> None:
    path = home / "turnout.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE held (x)")
    threading.Timer(0.2, other.commit).start()
    database = Database(path)
    database.open()
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()
    other.close()


def test_a_database_of_before_metadata_is_brought_up_to_date(home: Path) -> None:
    path = home / "turnout.db"
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)")
    for version, statements in enumerate(MIGRATIONS[:2], start=1):
        for statement in statements:
            old.execute(statement)
        old.execute("INSERT INTO schema_version VALUES (?)", (version,))
    old.execute("INSERT INTO documents VALUES ('d', 'book', 'text', '/b', 'text', '[]', '[]', 0, 0)")
    old.execute("INSERT INTO sources VALUES ('library', '/b', 'd', '', '')")
    old.close()
    database = Database(path)
    database.open()
    with database.read() as connection:
        assert list(connection.execute(sa.text("SELECT source, metadata FROM sources"))) == [("/b", "")]
        assert [(entry.title, entry.source) for entry in catalogue.entries(connection, "library")] == [("book", "/b")]
    database.close()
