"""`turnout token`, and `--in NAME` of the other commands."""

import json
from pathlib import Path

from support.library import BOOK

from turnout.database import Database

QUESTION = "Who repaired the lighthouse lamp?"


def test_a_token_is_printed_once_listed_without_its_secret_and_revoked(turnout, home: Path) -> None:
    made = turnout("token", "create", "anna", "--in", "acme", "--in", "drafts", "--per-minute", "9")
    secret = made.out.strip()
    assert secret.startswith("turnout_")
    assert made.err == "anna may read, write in acme, drafts\n"
    listed = turnout("token", "list").out
    assert "anna  read, write  in acme, drafts  9 a minute" in listed
    assert secret not in listed
    with Database(home / "turnout.db").read() as connection:
        assert secret not in str(connection.exec_driver_sql("SELECT * FROM tokens").all())
    assert turnout("token", "create", "anna", "--in", "x").code == 2
    assert turnout("token", "revoke", "anna").err == "revoked anna\n"
    again = turnout("token", "revoke", "anna")
    assert (again.code, "unknown token 'anna'" in again.err) == (2, True)
    assert "no tokens" in turnout("token", "list").err


def test_slips_in_a_token_are_refused(turnout) -> None:
    assert "use 1 to 64" in turnout("token", "create", "an na", "--in", "acme").err
    assert "unknown right 'writ'" in turnout("token", "create", "anna", "--in", "acme", "--right", "writ").err
    assert "name at least one" in turnout("token", "create", "anna", "--in", " ").err


def test_a_collection_is_added_to_listed_asked_and_removed_from(turnout, tmp_path: Path) -> None:
    book = tmp_path / "book.md"
    book.write_text(BOOK, encoding="utf-8")
    assert turnout("add", str(book), "--in", "acme").out == "1 added\n"
    assert turnout("ls").err.startswith("the library is empty")
    assert "book.md" in turnout("ls", "--in", "acme").out
    assert json.loads(turnout("ls", "--collections", "--json").out) == {"name": "acme", "documents": 1, "apart": True}
    asked = turnout("ask", "--in", "acme", QUESTION)
    assert (asked.code, "Marta Lindqvist" in asked.out) == (0, True)
    assert QUESTION in turnout("log", "--in", "acme").out
    assert turnout("log", "--in", "brask").err == "no answers yet\n"
    assert "the collection 'brask' is empty" in turnout("ask", "--in", "brask", QUESTION).err
    assert turnout("rm", "book.md", "--in", "brask").code == 2
    assert turnout("show", "book.md", "--in", "acme").out.strip() == BOOK.strip()
    assert turnout("rm", "book.md", "--in", "acme").code == 0
    assert "is empty" in turnout("ls", "--in", "acme").err
