"""Opening the database beside other processes."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from turnout.database import Database


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
